// Waits until a page says that its views stand, works their controls, and tells what came of it.
const errors = [];
window.onerror = (message) => errors.push(message);
window.onunhandledrejection = ({ reason }) => errors.push(String(reason));
console.error = (...words) => errors.push(words.join(' '));
const rest = (time) => new Promise((done) => setTimeout(done, time));
const apart = (a, b) =>
  a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
const set = (input, value) => {
  input.value = value;
  input.dispatchEvent(new Event('input'));
};
const scene = async () => {
  const view = document.querySelector('.view');
  const plot = view.querySelector('.plot');
  const box = view.querySelector('input[data-surface="0"]');
  const before = plot.data[0].visible;
  box.click();
  const hidden = plot.data[0].visible === false;
  const painted = Array.from(plot.data[0].intensity || []).length;
  view.querySelector('input[value="0"]').click();
  const coloured = Array.from(plot.data[0].intensity || []).length;
  const boxOf = (what) => view.querySelector(what).getBoundingClientRect();
  const clear = apart(boxOf('.plot'), boxOf('.scale')) && boxOf('.scale').width > 100;
  view.querySelector('input[value=anatomy]').click();
  const eye = () => Object.values(plot.layout.scene.camera.eye);
  const start = eye();
  plot.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft' }));
  const turned = eye();
  view.querySelector('[data-reset]').click();
  const slices = plot.data.filter(({ type }) => type === 'surface');
  const row = view.querySelector('[data-slice="2"]');
  let moved = null;
  if (row) {
    set(row.querySelector('[type=range]'), 1);
    await rest(300);
    const grey = plot.data[plot.data.length - 1];
    moved = { z: grey.z[0][0], said: parseFloat(row.querySelector('output').textContent),
      darkest: Math.min(...grey.surfacecolor.flatMap((line) => [...line])),
      lightest: Math.max(...grey.surfacecolor.flatMap((line) => [...line])) };
  }
  return { before: before !== false, hidden, painted, coloured, clear, start, turned, moved,
    back: eye(), slices: slices.map(({ visible }) => visible),
    boxes: view.querySelectorAll('input[data-surface]').length };
};
const SEEN_FROM = [
  [0.6, 1.3, 0.5], [0.3, -1.5, -0.6], [1.5, 0.4, 0.3], [-1.5, -0.4, 0.3], [0.2, 0.4, 1.6],
];
// Where the letters of a view are in space and, seen from each of some places, on the screen.
const lettersOf = async (plot) => {
  const reach = ['x', 'y', 'z'].map((k) => {
    const all = plot.data.flatMap((trace) => [...trace[k]].flatMap((row) => (row.length ? [...row] : row)));
    return [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
  });
  const screens = [];
  for (const [x, y, z] of SEEN_FROM) {
    // Anew, since a browser without a window draws only the first frame of a plot.
    const scene = { ...plot.layout.scene, camera: { eye: { x, y, z } } };
    await Plotly.newPlot(plot, plot.data, { ...plot.layout, scene });
    const seen = [...plot.querySelectorAll('.annotation-scene')].map((letter) => {
      const { left, right, top, bottom } = letter.getBoundingClientRect();
      return [letter.textContent, [(left + right) / 2, (top + bottom) / 2]];
    });
    screens.push({ eye: [x, y, z], at: Object.fromEntries(seen) });
  }
  const points = (plot.layout.scene.annotations || []).map(({ text, x, y, z }) => [text, [x, y, z]]);
  return { points: Object.fromEntries(points), reach, screens };
};
const shapes = async () => {
  const view = document.querySelector('[data-kind=shapes]');
  if (!view) return null;
  const trace = () => view.querySelector('.plot').data[0];
  const moved = () => [0, 1, 2].map((i) => ['x', 'y', 'z'].map((k) => trace()[k][i]));
  const mean = moved();
  set(view.querySelector('[data-mode="1"] input'), 1.5);
  await rest(300);
  const first = moved();
  view.querySelector('[data-set=patient]').click();
  await rest(300);
  const values = [...view.querySelectorAll('[data-mode] input')].map(({ value }) => Number(value));
  const marks = [...view.querySelectorAll('.patient')].map(({ textContent }) => textContent);
  const distance = view.querySelector('.distance').textContent;
  view.querySelector('[data-set=mean]').click();
  await rest(300);
  const sides = Object.values(view.querySelector('.plot').layout.scene.aspectratio);
  return { mean, first, values, marks, distance, back: moved(), across: Math.hypot(...sides) };
};
window.addEventListener('load', async () => {
  for (let i = 0; i < 600 && !document.documentElement.dataset.ready; i += 1) await rest(100);
  const worked = { ...await scene(), shapes: await shapes() };
  const letters = [];
  for (const plot of document.querySelectorAll('.plot')) letters.push(await lettersOf(plot));
  document.title = JSON.stringify({
    ...worked, letters, errors,
    views: document.querySelectorAll('.view').length,
    rows: document.querySelectorAll('#measures tbody tr').length,
    wide: document.documentElement.scrollWidth <= window.innerWidth + 1,
  });
});
