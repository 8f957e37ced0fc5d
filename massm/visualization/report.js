const scene = document.getElementById('scene');
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const plain = read('colors');
const deviations = read('deviations');

document.querySelectorAll('input[data-trace]').forEach((box) => {
  box.addEventListener('change', () =>
    Plotly.restyle(scene, { visible: box.checked }, [Number(box.dataset.trace)]));
});

document.querySelectorAll('input[name=coloring]').forEach((choice) => {
  choice.addEventListener('change', () => {
    const byDeviation = choice.value === 'deviation';
    const all = scene.data.map((_, i) => i);
    Plotly.restyle(scene, {
      intensity: deviations.map((values) => (byDeviation ? values : null)),
      color: plain,
      showscale: all.map((i) => byDeviation && i === 0),
    }, all);
  });
});

const fit = () => Plotly.Plots.resize(scene);
window.addEventListener('resize', fit);
fit();
