const TURN = Math.PI / 24;

const turned = ({ x, y, z }, angle, lift) => {
  const flat = Math.hypot(x, y);
  const radius = Math.hypot(flat, z);
  const height = Math.max(-1.5, Math.min(1.5, Math.atan2(z, flat) + lift));
  const heading = Math.atan2(y, x) + angle;
  return {
    x: radius * Math.cos(height) * Math.cos(heading),
    y: radius * Math.cos(height) * Math.sin(heading),
    z: radius * Math.sin(height),
  };
};

const scaled = ({ x, y, z }, factor) => ({ x: x * factor, y: y * factor, z: z * factor });

const KEYS = {
  ArrowLeft: (eye) => turned(eye, -TURN, 0),
  ArrowRight: (eye) => turned(eye, TURN, 0),
  ArrowUp: (eye) => turned(eye, 0, TURN),
  ArrowDown: (eye) => turned(eye, 0, -TURN),
  '+': (eye) => scaled(eye, 0.9),
  '-': (eye) => scaled(eye, 1.1),
};

const start = (view) => {
  const scene = document.getElementById(view.dataset.scene);
  const data = JSON.parse(view.querySelector('script[type="application/json"]').textContent);

  view.querySelectorAll('input[data-trace]').forEach((box) => {
    box.addEventListener('change', () =>
      Plotly.restyle(scene, { visible: box.checked }, [Number(box.dataset.trace)]));
  });

  const paint = (measure) => {
    const all = scene.data.map((_, i) => i);
    Plotly.restyle(scene, {
      intensity: all.map((i) => (measure ? measure.values[i] : null)),
      color: data.colors,
      showscale: all.map((i) => Boolean(measure) && i === 0),
      ...(measure && {
        colorscale: measure.scale,
        reversescale: measure.reversed,
        cmin: measure.range[0],
        cmax: measure.range[1],
        'colorbar.title.text': measure.title,
      }),
    }, all);
  };
  view.querySelectorAll('input[type=radio]').forEach((choice) => {
    const measure = choice.value === 'anatomy' ? null : data.measures[Number(choice.value)];
    choice.addEventListener('change', () => paint(measure));
    if (choice.checked && measure) paint(measure);
  });

  scene.tabIndex = 0;
  scene.setAttribute('role', 'img');
  scene.setAttribute('aria-label', 'Surfaces; arrow keys turn them, plus and minus zoom');
  scene.addEventListener('keydown', (event) => {
    const move = KEYS[event.key];
    if (!move) return;
    event.preventDefault();
    Plotly.relayout(scene, { 'scene.camera.eye': move(scene.layout.scene.camera.eye) });
  });

  const fit = () => Plotly.Plots.resize(scene);
  window.addEventListener('resize', fit);
  fit();
  // A narrow window shows the same width of the patient from further away.
  const narrow = scene.clientHeight / scene.clientWidth;
  const { eye } = scene.layout.scene.camera;
  if (narrow > 1) Plotly.relayout(scene, { 'scene.camera.eye': scaled(eye, narrow) });
};

window.addEventListener('DOMContentLoaded', () =>
  document.querySelectorAll('.view').forEach(start));
