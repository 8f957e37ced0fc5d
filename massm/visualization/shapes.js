// A patient's shape in the population's: the mean shape, moved along its modes.
const SPAN = 2;  // standard deviations to each side, more where the patient lies beyond

const signed = (value) => {
  const digits = Math.abs(value).toFixed(1);
  return Number(digits) === 0 ? digits : `${value < 0 ? '−' : '+'}${digits}`;
};

const movedMean = ({ mean, modes }, scores) => {
  const vertices = Float32Array.from(mean);
  modes.forEach((mode, k) => {
    for (let i = 0; i < vertices.length; i += 1) vertices[i] += scores[k] * mode[i];
  });
  return vertices;
};

const meanDistance = (a, b) => {
  let sum = 0;
  for (let i = 0; i < a.length; i += 3) {
    sum += Math.hypot(a[i] - b[i], a[i + 1] - b[i + 1], a[i + 2] - b[i + 2]);
  }
  return (3 * sum) / a.length;
};

const decoded = (shape, surface) => ({
  ...shape, name: surface.name, color: surface.color, faces: numbers(surface.faces),
  mean: numbers(shape.mean), modes: shape.modes.map(numbers), patient: numbers(shape.patient),
});

// Holds the patient, and the mean at both ends of every mode.
const roomFor = (shape) => rangeOf([shape.patient, ...shape.modes.flatMap((_, k) =>
  [-SPAN, SPAN].map((z) => movedMean(shape, shape.modes.map((__, j) => (j === k ? z : 0)))))]);

const shiftedBy = (vertices, shift) => vertices.map((value, i) => (i % 3 ? value : value + shift));

VIEWS.shapes = async (view) => {
  const { scene, eye, shapes } = told(view);
  const { surfaces } = told(document.getElementById(scene));
  const plot = view.querySelector('.plot');
  const axes = [...view.querySelectorAll('[data-mode]')];
  const slider = (axis) => axis.querySelector('input');
  const chooser = view.querySelector('select');
  const isOn = (name) => view.querySelector(`[name=${name}]`).checked;
  let shape;
  let beside;  // mm from the patient to the mean

  const scores = () => axes.slice(0, shape.modes.length).map((axis) => Number(slider(axis).value));
  const tell = (vertices) => {
    scores().forEach((z, k) => { axes[k].querySelector('output').textContent = `${signed(z)} SD`; });
    view.querySelector('.distance').textContent =
      `${meanDistance(vertices, shape.patient).toFixed(1)} mm`;
  };
  const move = soon(() => {
    const vertices = movedMean(shape, scores());
    tell(vertices);
    const placed = columns(shiftedBy(vertices, beside), 'xyz');
    const wrapped = Object.entries(placed).map(([key, values]) => [key, [values]]);
    Plotly.restyle(plot, Object.fromEntries(wrapped), [0]);
  });
  const setTo = (values) => {
    axes.slice(0, shape.modes.length).forEach((axis, k) => { slider(axis).value = values[k]; });
    move();
  };
  const markAxis = (axis, k) => {
    axis.hidden = k >= shape.modes.length;
    if (axis.hidden) return;
    const z = shape.scores[k];
    const most = Math.max(SPAN, Math.ceil(2 * Math.abs(z)) / 2);
    Object.assign(slider(axis), { min: -most, max: most, value: 0 });
    const mark = axis.querySelector('.mark');
    mark.style.setProperty('--at', (z + most) / (2 * most));
    mark.style.setProperty('--own', shape.color);
    axis.querySelector('.patient').textContent = `patient ${signed(z)}`;
    axis.querySelector('.share').textContent = `${(100 * shape.shares[k]).toFixed(0)} % of the variation`;
    axis.querySelectorAll('.ends span').forEach((end, i) => {
      end.textContent = ['−', '', '+'][i] + (i === 1 ? '0' : String(most));
    });
  };
  const choose = async () => {
    const chosen = shapes[Number(chooser.value)];
    shape = decoded(chosen, surfaces[chosen.surface]);
    axes.forEach(markAxis);
    view.querySelector('.own').style.background = shape.color;
    const room = roomFor(shape);
    beside = isOn('beside') ? 1.1 * (room[0][1] - room[0][0]) : 0;
    room[0][1] += beside;
    const traces = [
      meshTrace(shiftedBy(shape.mean, beside), shape.faces, {
        color: 'rgb(150,150,150)', opacity: beside ? 1 : 0.45, name: 'mean', visible: isOn('mean'),
        hovertemplate: 'mean shape, moved along its modes<extra></extra>',
      }),
      meshTrace(shape.patient, shape.faces, {
        color: shape.color, name: 'patient', visible: isOn('patient'),
        hovertemplate: `${shape.name} of the patient<extra></extra>`,
      }),
    ];
    await showIn(plot, traces, room, eye);
    tell(shape.mean);
  };
  const placeBeside = async () => {
    const kept = scores();
    await choose();
    setTo(kept);
  };

  await choose();
  listen(view, plot, 'The patient’s shape in the mean shape');
  chooser.addEventListener('change', choose);
  view.querySelector('[name=beside]').addEventListener('change', placeBeside);
  axes.forEach((axis) => slider(axis).addEventListener('input', move));
  view.querySelector('[data-set=patient]').addEventListener('click', () => setTo(shape.scores));
  view.querySelector('[data-set=mean]').addEventListener('click', () => setTo(axes.map(() => 0)));
  ['mean', 'patient'].forEach((name, trace) => {
    const box = view.querySelector(`[name=${name}]`);
    box.addEventListener('change', () => Plotly.restyle(plot, { visible: box.checked }, [trace]));
  });
};
