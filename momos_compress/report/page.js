"use strict";
(() => {
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();
  const queues = new Map();

  // Charts. One after another for each figure, so that a slow one never replaces a later choice.
  function draw(id, spec, reason) {
    const next = (queues.get(id) ?? Promise.resolve()).then(() => replace(id, spec, reason)).catch((error) => {
      console.error(error);
      document.querySelector(`#${id} figcaption`).textContent = `This chart could not be drawn: ${error.message}`;
    });
    queues.set(id, next);
    return next;
  }

  async function replace(id, spec, reason) {
    const chart = document.querySelector(`#${id} .chart`);
    const caption = document.querySelector(`#${id} figcaption`);
    views.get(id)?.finalize();
    views.delete(id);
    if (!spec) {
      chart.replaceChildren();
      caption.textContent = reason;
      return;
    }
    const { title, ...rest } = structuredClone(spec);
    caption.textContent = title.subtitle;
    const width = chart.clientWidth;
    if (rest.vconcat) {
      for (const panel of rest.vconcat) panel.width = Math.max(150, width - 90);
    } else if (rest.width === undefined) {
      rest.width = "container";
      rest.autosize = { type: "fit-x", contains: "padding" };
      shortenNames(rest, width);
    }
    const config = structuredClone(report.theme[dark.matches ? "dark" : "light"]);
    config.background = "transparent";
    config.legend.columns = Math.max(1, Math.min(5, Math.floor((width - 60) / 150)));
    const options = { mode: "vega-lite", actions: false, ast: true, renderer: "svg", defaultStyle: false, config };
    options.tooltip = { theme: dark.matches ? "dark" : "light" };
    views.set(id, await vegaEmbed(chart, rest, options));
  }

  // Names of models under an axis need some 22 pixels each; where there is less, their ranks alone stand there.
  function shortenNames(spec, width) {
    for (const { encoding } of spec.layer) {
      if (encoding.x?.field !== "label" || width - 80 > 22 * report.models) continue;
      Object.assign(encoding.x.axis, { labelAngle: 0, labelExpr: "split(datum.value, '.')[0]", labelOverlap: "greedy" });
    }
  }

  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

  function drawRatios() {
    const key = `${chosen("measure")}/${chosen("baseline")}`;
    document.getElementById("summary").textContent = report.summaries[key];
    return draw("figure2", report.figure2[key], report.summaries[key]);
  }

  function drawPlanes() {
    return draw("qubd_planes", report.planes[chosen("baseline")], "No model has QuBD's ratios.");
  }

  function drawLayers() {
    const layers = report.layers;
    if (!layers.spec) return draw("layers", null, layers.reason);
    const spec = structuredClone(layers.spec);
    const profile = layers.profiles[Number(document.getElementById("model").value)];
    const ratios = profile[chosen("baseline")];
    const values = profile.name.map((name, index) => {
      const record = { order: index + 1, name, shape: profile.shape[index] };
      for (const key of Object.keys(ratios)) record[key] = ratios[key][index];
      return record;
    });
    spec.datasets.layers = values;
    spec.description = `${spec.title.text}${document.getElementById("model").selectedOptions[0].textContent}`;
    spec.title.subtitle = layers.captions[chosen("baseline")];
    return draw("layers", spec, "");
  }

  function drawCorrelation() {
    const { spec, reason, left_out } = report.correlation[chosen("baseline")];
    document.getElementById("left-out").textContent = left_out;
    return draw("correlation", spec, reason);
  }

  const drawAll = () => Promise.all([drawRatios(), drawPlanes(), drawLayers(), drawCorrelation()]);

  for (const input of document.querySelectorAll('input[name="measure"]')) input.addEventListener("change", drawRatios);
  for (const input of document.querySelectorAll('input[name="baseline"]')) input.addEventListener("change", drawAll);
  document.getElementById("model").addEventListener("change", drawLayers);
  dark.addEventListener("change", drawAll);
  let pause = 0;
  let lastWidth = document.body.clientWidth;
  addEventListener("resize", () => {
    clearTimeout(pause);
    pause = setTimeout(() => {
      if (document.body.clientWidth !== lastWidth) drawAll();
      lastWidth = document.body.clientWidth;
    }, 200);
  });

  // The table: values lie beside the text in data-value; what is missing comes last whichever way it is sorted.
  const body = document.querySelector(".table tbody");
  const heads = [...document.querySelectorAll(".table thead th")];
  const order = new Intl.Collator("en", { numeric: true });

  function value(row, column, numeric) {
    const cell = row.cells[column];
    if (cell.classList.contains("missing")) return null;
    return numeric ? Number(cell.dataset.value) : cell.textContent;
  }

  function sort(column) {
    const head = heads[column];
    const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    const numeric = head.dataset.numeric === "1";
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...body.rows].map((row) => [value(row, column, numeric), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (numeric ? a - b : order.compare(a, b));
    });
    for (const other of heads) other.setAttribute("aria-sort", other === head ? direction : "none");
    body.append(...rows.map(([, row]) => row));
  }

  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(column)));

  const family = heads.findIndex((head) => head.textContent === "family");
  function filter() {
    const words = document.getElementById("filter").value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of body.rows) {
      const text = `${row.cells[0].textContent} ${family < 0 ? "" : row.cells[family].textContent}`.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    document.getElementById("shown").textContent = `${shown} of ${body.rows.length} rows`;
  }
  document.getElementById("filter").addEventListener("input", filter);
  filter();

  drawAll().then(() => { document.documentElement.dataset.ready = "yes"; });
})();
