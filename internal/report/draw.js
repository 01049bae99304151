"use strict";
(function () {
  const options = JSON.parse(document.getElementById("options").textContent);
  const charts = [];
  for (const name of Object.keys(options)) {
    const chart = echarts.init(document.getElementById(name), null, { renderer: "svg" });
    chart.setOption(options[name]);
    charts.push(chart);
  }
  // On paper a chart is scaled as a picture is.
  function fit() {
    for (const chart of charts) {
      chart.getDom().querySelector("svg").setAttribute("viewBox", "0 0 " + chart.getWidth() + " " + chart.getHeight());
    }
  }
  fit();
  window.addEventListener("resize", function () {
    if (window.matchMedia("print").matches) return;
    for (const chart of charts) chart.resize();
    fit();
  });
})();
