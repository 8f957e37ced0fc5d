// What all views share: numbers decoded, the library unpacked, a camera for keys and narrow windows.
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

const numbers = ({ low, step, data }) =>
  Float32Array.from(new Uint16Array(bytes(data).buffer), (count) => low + step * count);

const part = (flat, k) => flat.filter((_, i) => i % 3 === k);

const columns = (flat, names) =>
  Object.fromEntries([...names].map((name, k) => [name, part(flat, k)]));

const inflated = (base64) =>
  new Response(new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream('gzip'))).text();

const loadLibrary = async () => {
  const script = document.createElement('script');
  script.textContent = await inflated(document.getElementById('library').textContent);
  document.head.append(script);
};

const told = (view) => JSON.parse(view.querySelector('script[type="application/json"]').textContent);

// What a slider asks for many times is done once a moment.
const soon = (action) => {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    setTimeout(() => {
      waits = false;
      action();
    }, 15);
  };
};

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

// What an axis' lower and upper end are called: x rises to the patient's right, y to the front, z to
// the head. The letters are points in space, right from every side, as titles along the axes are not:
// those are turned about to be read.
const ENDS = ['LR', 'PA', 'IS'];
const BESIDE = 0.06;  // of the longest side: what is left free around the shown, for its letters

const sidesOf = (range) => range.map(([low, high]) => high - low || 1);

const widened = (range, share) => {
  const room = share * Math.max(...sidesOf(range));
  return range.map(([low, high]) => [low - room, high + room]);
};

// Each in the middle of its side of `range`.
const lettersOn = (range, look) => ENDS.flatMap((letters, k) => [...letters].map((text, end) => {
  const [x, y, z] = range.map(([low, high], i) => (i === k ? range[i][end] : (low + high) / 2));
  return { x, y, z, text, showarrow: false, borderpad: 1, font: { size: 16, weight: 'bold' }, ...look };
}));

// From [lowest, highest] of each axis, mm: axes that stay as traces come and go. The diagonal is that
// of the cube which the camera shows whole, so that a long shape is seen to its ends.
const spaceOf = (shown) => {
  const range = widened(shown, BESIDE);
  const sides = sidesOf(range);
  const unit = Math.hypot(...sides) / Math.sqrt(3);
  const axis = (k) => ({ range: range[k], visible: false });
  return {
    xaxis: axis(0), yaxis: axis(1), zaxis: axis(2),
    aspectmode: 'manual',
    aspectratio: { x: sides[0] / unit, y: sides[1] / unit, z: sides[2] / unit },
  };
};

const rangeOf = (shapes) => [0, 1, 2].map((k) => {
  let [low, high] = [Infinity, -Infinity];
  shapes.forEach((flat) => {
    for (let i = k; i < flat.length; i += 3) {
      low = Math.min(low, flat[i]);
      high = Math.max(high, flat[i]);
    }
  });
  return [low, high];
});

const LAMP = { x: 20000, y: 60000, z: 100000 };
const LIGHT = { ambient: 0.6, diffuse: 0.7, specular: 0.1 };

// vertices and faces flat, three numbers each.
const meshTrace = (vertices, faces, look) => ({
  type: 'mesh3d', ...columns(vertices, 'xyz'), ...columns(faces, 'ijk'),
  lighting: LIGHT, lightposition: LAMP, flatshading: false, showscale: false, ...look,
});

const showIn = async (plot, traces, range, eye) => {
  const { width, height } = plot.getBoundingClientRect();
  const away = Math.max(1, height / width);  // a narrow window: the same width from further away
  const look = { bgcolor: getComputedStyle(document.body).backgroundColor, opacity: 0.8 };
  const annotations = lettersOn(widened(range, BESIDE / 2), look);
  await Plotly.newPlot(plot, traces, {
    margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: 'rgba(0,0,0,0)', showlegend: false,
    font: { color: getComputedStyle(plot).color },
    scene: { ...spaceOf(range), annotations, camera: { eye: scaled(eye, away) } },
  }, { displayModeBar: false, responsive: true });
};

const listen = (view, plot, words) => {
  const start = plot.layout.scene.camera.eye;
  view.querySelector('[data-reset]').addEventListener('click', () =>
    Plotly.relayout(plot, { 'scene.camera': { eye: start } }));
  plot.tabIndex = 0;
  plot.setAttribute('role', 'img');
  plot.setAttribute('aria-label', `${words}; arrow keys turn, plus and minus zoom`);
  plot.addEventListener('keydown', (event) => {
    const move = KEYS[event.key];
    if (!move) return;
    event.preventDefault();
    Plotly.relayout(plot, { 'scene.camera.eye': move(plot.layout.scene.camera.eye) });
  });
};

const startAll = async () => {
  try {
    await loadLibrary();
    for (const [kind, start] of Object.entries(VIEWS)) {
      for (const view of document.querySelectorAll(`.view[data-kind="${kind}"]`)) await start(view);
    }
    document.documentElement.dataset.ready = 'yes';
  } catch (error) {
    document.querySelectorAll('.plot').forEach((plot) => {
      plot.textContent = `This browser cannot show the surfaces (${error.message}); one of 2023 or later can.`;
    });
    throw error;
  }
};

const VIEWS = {};
window.addEventListener('DOMContentLoaded', startAll);
