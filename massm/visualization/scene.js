// Surfaces and slices of the scan in one space.
const PLANES = ['sagittal', 'coronal', 'axial'];  // by the axis that they are normal to
const GREY = [[0, 'rgb(0,0,0)'], [1, 'rgb(255,255,255)']];
const CLEAR = [[0, 0], [0.03, 0], [0.08, 1], [1, 1]];  // what is black hides nothing

// The scan's voxels, from the picture of its axial slices side by side.
const voxelsOf = async ({ shape: [nx, ny, nz], columns: across, image }) => {
  const picture = new Image();
  picture.src = image;
  await picture.decode();
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const voxels = new Uint8Array(nx * ny * nz);
  for (let z = 0, to = 0; z < nz; z += 1) {
    const [left, top] = [(z % across) * nx, Math.floor(z / across) * ny];
    for (let y = 0; y < ny; y += 1) {
      let from = 4 * ((top + y) * canvas.width + left);
      for (let x = 0; x < nx; x += 1, from += 4, to += 1) voxels[to] = pixels[from];
    }
  }
  return voxels;
};

// The plane `index` of an axis: positions (mm) and grey values as rows.
const planeOf = (volume, axis, index) => {
  const { shape, first, spacing, voxels } = volume;
  const [across, up] = [0, 1, 2].filter((k) => k !== axis);
  const at = [0, 0, 0];
  at[axis] = index;
  const rows = (value) => Array.from({ length: shape[up] }, (_, v) => {
    const row = new Float32Array(shape[across]);
    at[up] = v;
    for (let u = 0; u < row.length; u += 1) {
      at[across] = u;
      row[u] = value();
    }
    return row;
  });
  const position = (k) => rows(() => first[k] + spacing * at[k]);
  return {
    x: position(0), y: position(1), z: position(2),
    surfacecolor: rows(() => voxels[at[0] + shape[0] * (at[1] + shape[1] * at[2])]),
  };
};

const planeTrace = (volume, axis, index) => ({
  type: 'surface', ...planeOf(volume, axis, index), colorscale: GREY, cmin: 0, cmax: 255,
  opacityscale: CLEAR,
  showscale: false, hoverinfo: 'skip', name: PLANES[axis],
  lighting: { ambient: 1, diffuse: 0, specular: 0, fresnel: 0 },
  contours: { x: { highlight: false }, y: { highlight: false }, z: { highlight: false } },
});

const moveSlices = (view, plot, volume, firstTrace) => {
  view.querySelectorAll('[data-slice]').forEach((row) => {
    const axis = Number(row.dataset.slice);
    const [box, slider, output] = ['[type=checkbox]', '[type=range]', 'output'].map(
      (what) => row.querySelector(what));
    const tell = () => {
      output.textContent = `${Math.round(volume.first[axis] + volume.spacing * slider.value)} mm`;
    };
    const move = soon(() => {
      const plane = planeOf(volume, axis, Number(slider.value));
      const wrapped = Object.fromEntries(Object.entries(plane).map(([key, rows]) => [key, [rows]]));
      Plotly.restyle(plot, wrapped, [firstTrace + axis]);
    });
    slider.addEventListener('input', () => {
      tell();
      move();
    });
    box.addEventListener('change', () =>
      Plotly.restyle(plot, { visible: box.checked }, [firstTrace + axis]));
    tell();
  });
};

// Each surface as its seen and, see-through, its extrapolated part.
const tracesOf = ({ name, color, vertices, faces, unseen }, number) => {
  const [points, corners] = [numbers(vertices), numbers(faces)];
  const hidden = unseen && new Set(numbers(unseen));
  const those = (wanted) => corners.filter((_, i) => hidden.has(Math.floor(i / 3)) === wanted);
  const look = { color, name, hovertemplate: `${name}<extra></extra>`, meta: number };
  if (!hidden) return [meshTrace(points, corners, look)];
  return [
    meshTrace(points, those(false), look),
    meshTrace(points, those(true), {
      ...look, opacity: 0.35, hovertemplate: `${name}, extrapolated<extra></extra>`,
    }),
  ];
};

const painter = (view, plot, data, meshes) => {
  const bar = view.querySelector('.scale');
  const traces = meshes.map((_, i) => i);
  return (measure) => {
    Plotly.restyle(plot, {
      intensity: meshes.map(({ meta }) => (measure ? numbers(measure.values[meta]) : null)),
      color: meshes.map(({ meta }) => data.surfaces[meta].color),
      ...(measure && {
        colorscale: traces.map(() => measure.scale), cmin: measure.range[0], cmax: measure.range[1],
      }),
    }, traces);
    bar.hidden = !measure;
    if (!measure) return;
    const stops = measure.scale.map(([at, color]) => `${color} ${100 * at}%`);
    bar.querySelector('.ramp').style.background = `linear-gradient(to right, ${stops})`;
    const [low, high] = measure.range;
    [low, (low + high) / 2, high].forEach((value, i) => {
      bar.querySelectorAll('.ends span')[i].textContent =
        (value > 0 && low < 0 ? '+' : '') + value.toFixed(high < 10 ? 1 : 0);
    });
    bar.querySelector('.title').textContent = measure.title;
  };
};

VIEWS.scene = async (view) => {
  const data = told(view);
  const plot = view.querySelector('.plot');
  const meshes = data.surfaces.flatMap(tracesOf);
  const volume = data.volume && { ...data.volume, voxels: await voxelsOf(data.volume) };
  const planes = volume ? PLANES.map((_, axis) => {
    const row = view.querySelector(`[data-slice="${axis}"]`);
    const index = Number(row.querySelector('[type=range]').value);
    const visible = row.querySelector('[type=checkbox]').checked;
    return { ...planeTrace(volume, axis, index), visible };
  }) : [];
  const ends = volume ? [volume.first, volume.first.map((low, k) =>
    low + volume.spacing * (volume.shape[k] - 1))] : [];
  const range = rangeOf([...data.surfaces.map(({ vertices }) => numbers(vertices)), ...ends]);
  await showIn(plot, [...meshes, ...planes], range, data.eye);
  listen(view, plot, 'Surfaces and slices');

  const paint = painter(view, plot, data, meshes);
  view.querySelectorAll('input[type=radio]').forEach((choice) => {
    const measure = choice.value === 'anatomy' ? null : data.measures[Number(choice.value)];
    choice.addEventListener('change', () => paint(measure));
    if (choice.checked && measure) paint(measure);
  });
  view.querySelectorAll('input[data-surface]').forEach((box) => {
    const own = meshes.flatMap(({ meta }, i) => (meta === Number(box.dataset.surface) ? [i] : []));
    box.addEventListener('change', () => Plotly.restyle(plot, { visible: box.checked }, own));
  });
  if (volume) moveSlices(view, plot, volume, meshes.length);
};
