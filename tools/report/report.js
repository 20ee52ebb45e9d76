// Draws the charts that the page holds as data, in the colours of the reader's scheme.
"use strict";

(function () {
  // Okabe and Ito's palette, which the colour-blind tell apart, and a grey.
  const palettes = {
    light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e6b800", "#8a8a8a"],
    dark: ["#4aa3df", "#f0803c", "#22c79a", "#e19ac4", "#a8dcfa", "#f5d547", "#7d8287"],
  };
  const shapes = ["circle", "rect", "triangle", "rectRot", "star", "crossRot", "cross", "dash"];
  const dashes = [[], [7, 3], [2, 3], [10, 3, 2, 3]];
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const charts = [];
  let printing = false;

  function theme(width) {
    const name = dark.matches && !printing ? "dark" : "light";
    return {
      narrow: width < 600,
      colors: palettes[name],
      text: name === "dark" ? "#eaeaea" : "#1a1a1a",
      grid: name === "dark" ? "#3a3e43" : "#dddddd",
      page: name === "dark" ? "#16181b" : "#ffffff",
    };
  }

  function short(value) {
    const size = Math.abs(value);
    if (size !== 0 && (size >= 1e7 || size < 1e-3)) return value.toExponential(0);
    if (size >= 1e4) return Math.round(value).toLocaleString("en");
    return String(Number(value.toPrecision(3)));
  }

  function bytes(value) {
    const units = ["B", "KiB", "MiB", "GiB"];
    const step = Math.min(Math.floor(Math.log2(Math.max(value, 1)) / 10), 3);
    return Number((value / 2 ** (10 * step)).toPrecision(3)) + " " + units[step];
  }

  // A logarithmic axis would write a label at every line; people read those of 1, 2 and 5.
  function logTick(value) {
    const digit = Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));
    return digit === 1 || digit === 2 || digit === 5 ? short(value) : "";
  }

  function axis(look, title, log, write) {
    return {
      type: log ? "logarithmic" : "linear",
      title: { display: true, text: title, color: look.text },
      ticks: {
        color: look.text,
        callback: write || (log ? logTick : short),
        maxRotation: 0,
        includeBounds: false,
        maxTicksLimit: look.narrow ? 5 : 11,
      },
      grid: { color: look.grid },
    };
  }

  // Stripes in a colour: the same thing as the plain colour, in its other kind.
  function stripes(color, look) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const context = tile.getContext("2d");
    context.fillStyle = look.page;
    context.fillRect(0, 0, 8, 8);
    context.strokeStyle = color;
    context.lineWidth = 3;
    for (let at = -8; at <= 8; at += 8) {
      context.beginPath();
      context.moveTo(at - 2, 10);
      context.lineTo(at + 10, -2);
      context.stroke();
    }
    return context.createPattern(tile, "repeat");
  }

  // Labels at these values and no other.
  function onlyTicks(scale, values) {
    const inside = values.filter((value) => value >= scale.min && value <= scale.max);
    scale.ticks = inside.map((value) => ({ value: value }));
  }

  // 1, 2, 5, 10, ... from the last of them below all values to the first above, so that every point
  // lies within the frame; of too many labels every second is left out, or more.
  function logAxis(look, title, values, steps, write) {
    const made = axis(look, title, true, write || short);
    const least = Math.min(...values) / 1.2;
    const most = Math.max(...values) * 1.2;
    const marks = steps(least, most);
    made.min = marks[0];
    made.max = marks[marks.length - 1];
    const every = Math.ceil(marks.length / (look.narrow ? 5 : 11));
    made.afterBuildTicks = (scale) => onlyTicks(scale, marks.filter((_, i) => i % every === 0));
    return made;
  }

  function decimalSteps(least, most) {
    const marks = [];
    for (let power = Math.floor(Math.log10(least)); marks.length < 1000; ++power) {
      for (const digit of [1, 2, 5]) {
        const mark = Number(digit + "e" + power);
        if (mark <= least) marks.length = 0;
        marks.push(mark);
        if (mark >= most) return marks;
      }
    }
    return marks;
  }

  function powersOfFour(least, most) {
    const marks = [4 ** Math.floor(Math.log2(least) / 2)];
    while (marks[marks.length - 1] < most) marks.push(4 * marks[marks.length - 1]);
    return marks;
  }

  function categories(look, labels) {
    return {
      type: "category",
      labels: labels,
      ticks: { color: look.text, autoSkip: false },
      grid: { display: false },
    };
  }

  // On a narrow page a long label takes more lines, rather than the bars' place.
  function wrapped(label, look) {
    const most = look.narrow ? 20 : 48;
    const lines = [];
    label.forEach(function (line) {
      let current = "";
      line.split(" ").forEach(function (word) {
        if (current && current.length + 1 + word.length > most) {
          lines.push(current);
          current = word;
        } else {
          current = current ? current + " " + word : word;
        }
      });
      lines.push(current);
    });
    return lines;
  }

  // The line on a bar from its lowest to its highest value.
  const whiskers = {
    id: "whiskers",
    afterDatasetsDraw: function (chart) {
      const context = chart.ctx;
      context.save();
      context.strokeStyle = chart.options.color;
      context.lineWidth = 1.5;
      chart.data.datasets.forEach(function (dataset, index) {
        if (!dataset.low || !chart.isDatasetVisible(index)) return;
        chart.getDatasetMeta(index).data.forEach(function (bar, i) {
          if (dataset.low[i] === null) return;
          const edge = chart.chartArea.right;
          const from = chart.scales.x.getPixelForValue(dataset.low[i]);
          const to = Math.min(chart.scales.x.getPixelForValue(dataset.high[i]), edge);
          const head = to === edge ? -5 : 0; // an arrow: it goes on
          context.beginPath();
          context.moveTo(from, bar.y);
          context.lineTo(to, bar.y);
          context.moveTo(from, bar.y - 4);
          context.lineTo(from, bar.y + 4);
          context.moveTo(to + head, bar.y - 4);
          context.lineTo(to, bar.y);
          context.lineTo(to + head, bar.y + 4);
          context.stroke();
        });
      });
      context.restore();
    },
  };

  function bars(spec, look) {
    const labels = spec.labels.map((label) => wrapped(label, look));
    const tallest = Math.max(...labels.map((lines) => lines.length));
    const x = axis(look, spec.unit, spec.log);
    x.stacked = Boolean(spec.stacked);
    if (!spec.stacked && !spec.log) {
      // One slow step must not make all bars short.
      const highest = Math.max(...spec.series.flatMap((s) => s.high));
      const longest = Math.max(...spec.series.flatMap((s) => s.values));
      if (highest > 3 * longest) x.max = 2 * longest;
      else x.suggestedMax = highest;
    }
    const y = categories(look, labels);
    y.stacked = Boolean(spec.stacked);
    const perLabel = spec.stacked ? 1 : spec.series.length;
    return {
      height: 80 + labels.length * Math.max(12 + 14 * tallest, 18 + 18 * perLabel),
      type: "bar",
      plugins: [whiskers],
      data: {
        labels: labels,
        datasets: spec.series.map((series) => ({
          label: series.name,
          data: series.values,
          low: series.low,
          high: series.high,
          backgroundColor: series.striped
            ? stripes(look.colors[series.color], look)
            : look.colors[series.color],
          borderColor: series.striped ? look.colors[series.color] : look.page,
          borderWidth: spec.stacked ? 1 : 0,
          maxBarThickness: 24,
        })),
      },
      options: { indexAxis: "y", scales: { x: x, y: y } },
    };
  }

  function lines(spec, look) {
    const points = spec.series.flatMap((series) => series.points);
    const xs = points.map((point) => point[0]);
    const ys = points.map((point) => point[1]);
    let x = logAxis(look, spec.x, xs, decimalSteps);
    if (spec.bytes) x = logAxis(look, spec.x, xs, powersOfFour, bytes);
    if (spec.ticks) {
      x.min = spec.ticks[0] / 1.2;
      x.max = spec.ticks[spec.ticks.length - 1] * 1.2;
      x.afterBuildTicks = (scale) => onlyTicks(scale, spec.ticks);
    }
    let y = axis(look, spec.y, false);
    if (spec.logy) {
      y = logAxis(look, spec.y, ys, decimalSteps);
    } else {
      y.min = 0;
      y.suggestedMax = 1.1 * Math.max(...ys);
    }
    // Each line has a colour and a mark of its own, up to as many as the two have pairs.
    return {
      height: 300,
      type: "scatter",
      data: {
        datasets: spec.series.map((series, i) => ({
          label: series.name,
          data: series.points.map((point) => ({ x: point[0], y: point[1] })),
          showLine: series.line,
          borderColor: series.dashed ? look.text : look.colors[i % 7],
          backgroundColor: series.dashed ? look.text : look.colors[i % 7],
          borderDash: series.dashed ? [6, 4] : dashes[Math.floor(i / 7) % dashes.length],
          borderWidth: 2,
          pointStyle: series.dashed ? "line" : shapes[i % shapes.length],
          pointRadius: series.dashed ? 0 : 5,
          clip: false,
        })),
      },
      options: { scales: { x: x, y: y } },
    };
  }

  function timeline(spec, look) {
    const y = categories(look, spec.tracks);
    y.stacked = true; // all kinds of op in one lane, not one beside the other
    const x = axis(look, spec.unit, false);
    x.stacked = false;
    x.min = 0;
    return {
      height: 80 + 40 * spec.tracks.length,
      type: "bar",
      data: {
        labels: spec.tracks,
        datasets: spec.series.map((series) => ({
          label: series.name,
          data: series.bars.map((bar) => ({
            x: [bar[1], bar[2]],
            y: spec.tracks[bar[0]],
            op: bar[3],
          })),
          backgroundColor: look.colors[series.color],
          borderColor: look.page,
          borderWidth: 1,
          borderSkipped: false,
          minBarLength: 2,
          barThickness: 22,
          grouped: false,
        })),
      },
      options: {
        indexAxis: "y",
        scales: { x: x, y: y },
        plugins: {
          tooltip: {
            callbacks: {
              label: (item) =>
                item.raw.op + ": " + short(item.raw.x[0]) + " to " + short(item.raw.x[1]) + " µs",
            },
          },
        },
      },
    };
  }

  // How high the legend will be, so that on a phone it does not take the bars' place.
  function legendHeight(series, width) {
    let rows = 1;
    let used = 0;
    series.forEach(function (one) {
      const needed = 36 + 6.5 * one.name.length;
      if (used > 0 && used + needed > width) {
        rows += 1;
        used = 0;
      }
      used += needed;
    });
    return 22 * rows;
  }

  function draw() {
    charts.splice(0).forEach((chart) => chart.destroy());
    Object.keys(specs).forEach(function (id) {
      const spec = specs[id];
      const canvas = document.getElementById(id + "-chart");
      const width = canvas.parentNode.clientWidth;
      const look = theme(width);
      const config = { bars: bars, lines: lines, timeline: timeline }[spec.type](spec, look);
      canvas.parentNode.style.height =
        config.height + legendHeight(spec.series, width) + "px";
      config.options.animation = false;
      config.options.maintainAspectRatio = false;
      config.options.color = look.text;
      config.options.plugins = config.options.plugins || {};
      config.options.plugins.legend = {
        align: "start",
        labels: { color: look.text, boxWidth: 12, boxHeight: 8, usePointStyle: spec.type === "lines" },
      };
      charts.push(new Chart(canvas, config));
    });
  }

  Chart.defaults.font.family = 'system-ui, "DejaVu Sans", sans-serif';
  draw();
  dark.addEventListener("change", draw);

  // On paper nothing can be opened, and a dark chart wastes ink. Tables of many pages stay closed.
  let opened = [];
  window.addEventListener("beforeprint", function () {
    printing = true;
    document.body.classList.add("printing"); // charts as wide as a page
    opened = Array.from(document.querySelectorAll("details:not([open])")).filter(
      (details) => details.querySelectorAll("tr").length <= 50,
    );
    opened.forEach((details) => (details.open = true));
    draw();
  });
  window.addEventListener("afterprint", function () {
    printing = false;
    document.body.classList.remove("printing");
    opened.forEach((details) => (details.open = false));
    draw();
  });
})();
