// Draws the tail explorer from the numbers in the page (docs/_ext/tail_page.py): no library, no network.
"use strict";
(() => {
  const box = document.getElementById("tail-explorer");
  const data = JSON.parse(document.getElementById("tail-data").textContent);
  const slider = document.getElementById("tail-slider");
  const { losses, groups, names, shares, mean, states } = data;
  const count = losses.length, highest = losses[0], lowest = losses[count - 1];
  const rare = shares.indexOf(Math.min(...shares));
  const HEIGHT = 340, LEFT = 42, RIGHT = 12, TOP = 14, BOTTOM = 40, STRIP = 12;

  const short = (value) => String(Number(value.toPrecision(3)));
  const percent = (share) => `${(100 * share).toFixed(0)}\u00a0%`;

  // SVG by hand: `svg.add("line", {x1: 0, …})` appends and returns the new element.
  function canvas(id, height) {
    const element = document.getElementById(id);
    const width = element.getBoundingClientRect().width;
    element.setAttribute("viewBox", `0 0 ${width} ${height}`);
    element.setAttribute("height", height);
    element.replaceChildren();
    const add = (tag, attributes, text) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
      if (text !== undefined) made.textContent = text;
      return element.appendChild(made);
    };
    const label = (alt) => element.setAttribute("aria-label", alt);
    return { width, height, add, label };
  }

  function axes(svg, x, y, xs, ys, xname, xtext = String) {
    for (const value of ys) {
      svg.add("line", { x1: LEFT, x2: svg.width - RIGHT, y1: y(value), y2: y(value), class: "grid" });
      svg.add("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(value));
    }
    for (const value of xs) {
      const anchor = x(value) > svg.width - 30 ? "end" : "middle";
      svg.add("text", { x: Math.min(x(value), svg.width - 2), y: svg.height - 20, "text-anchor": anchor }, xtext(value));
    }
    svg.add("text", { x: (LEFT + svg.width - RIGHT) / 2, y: svg.height - 4, "text-anchor": "middle" }, xname);
  }

  const ticks = (low, high) => {
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((s) => (high - low) / s <= 6) || 20;
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(Number((i * step).toFixed(6)));
    return found;
  };

  function drawLosses(state) {
    const svg = canvas("tail-losses", HEIGHT);
    const floor = svg.height - BOTTOM - STRIP - 6;
    const x = (share) => LEFT + share * (svg.width - LEFT - RIGHT);
    const y = (loss) => floor - (loss / (1.05 * highest)) * (floor - TOP);
    axes(svg, x, y, [0, 0.25, 0.5, 0.75, 1], ticks(0, highest), "samples, worst first (share of all)", percent);
    const area = (until) => {
      let path = `M${x(0)},${floor}`;
      for (let i = 0; i < count && i / count < until; i++) {
        path += `V${y(losses[i]).toFixed(1)}H${x(Math.min((i + 1) / count, until)).toFixed(2)}`;
      }
      return `${path}V${floor}Z`;
    };
    svg.add("path", { d: area(1), class: "all" });
    svg.add("path", { d: area(state.tail), class: "in-tail" });
    for (let i = 0; i < count; i++) {
      if (Number(groups[i]) === rare) {
        svg.add("rect", { x: x(i / count), y: floor + 3, width: Math.max(0.7, x(1 / count) - x(0)), height: STRIP, class: "rare" });
      }
    }
    svg.add("line", { x1: x(state.tail), x2: x(state.tail), y1: TOP, y2: floor + 3 + STRIP, class: "edge" });
    const lines = [["CVaR", state.cvar, "cvar"], ["threshold η", state.threshold, "threshold"], ["mean", mean, "mean"]];
    for (const [, value, kind] of lines) {
      svg.add("line", { x1: LEFT, x2: svg.width - RIGHT, y1: y(value), y2: y(value), class: kind });
    }
    lines.forEach(([name, value, kind], row) => {
      const top = TOP + 8 + 20 * row, right = svg.width - RIGHT;
      svg.add("line", { x1: right - 24, x2: right, y1: top, y2: top, class: kind });
      svg.add("text", { x: right - 30, y: top + 4, "text-anchor": "end" }, `${name} ${short(value)}`);
    });
    const key = TOP + 8 + 20 * lines.length;
    svg.add("rect", { x: svg.width - RIGHT - 24, y: key - 6, width: 24, height: 12, class: "in-tail" });
    svg.add("text", { x: svg.width - RIGHT - 30, y: key + 4, "text-anchor": "end" }, "in the tail");
    svg.add("rect", { x: svg.width - RIGHT - 24, y: key + 14, width: 24, height: 12, class: "rare" });
    svg.add("text", { x: svg.width - RIGHT - 30, y: key + 24, "text-anchor": "end" }, `${names[rare]} (strip below)`);
    svg.label(`Sorted losses, the worst ${percent(state.tail)} in colour, CVaR ${short(state.cvar)}, mean ${short(mean)}.`);
  }

  function drawShares(state) {
    const svg = canvas("tail-shares", 100);
    [["all images", shares], ["the tail", state.shares]].forEach(([name, part], row) => {
      const top = 14 + row * 50;
      svg.add("text", { x: 0, y: top }, `${name}: ${percent(part[rare])} ${names[rare]}`);
      svg.add("rect", { x: 0, y: top + 7, width: svg.width, height: 20, class: "all" });
      svg.add("rect", { x: 0, y: top + 7, width: svg.width * part[rare], height: 20, class: "rare" });
    });
    svg.label(`${names[rare]}: ${percent(shares[rare])} of all images, ${percent(state.shares[rare])} of the tail.`);
  }

  function drawCurve(state) {
    const svg = canvas("tail-curve", HEIGHT);
    const floor = svg.height - BOTTOM, span = highest - lowest || 1, margin = 0.05 * span;
    const low = Math.max(0, state.cvar - 0.4 * span), high = state.cvar + 1.2 * span;
    const x = (eta) => LEFT + ((eta - lowest + margin) / (span + 2 * margin)) * (svg.width - LEFT - RIGHT);
    const y = (value) => floor - ((Math.min(value, high) - low) / (high - low)) * (floor - TOP);
    const value = (eta) => eta + losses.reduce((sum, loss) => sum + Math.max(loss - eta, 0), 0) / (count * state.tail);
    const etas = Array.from({ length: 120 }, (_, i) => lowest - margin + ((span + 2 * margin) * i) / 119);
    axes(svg, x, y, ticks(lowest, highest), ticks(low, high), "threshold η (nats)");
    const points = [...etas, state.threshold].sort((a, b) => a - b).map((eta) => [eta, value(eta)]);
    const shown = points.filter(([, height]) => height <= high);
    svg.add("polyline", { points: shown.map(([eta, height]) => `${x(eta)},${y(height)}`).join(" "), class: "curve" });
    svg.add("line", { x1: LEFT, x2: svg.width - RIGHT, y1: y(state.cvar), y2: y(state.cvar), class: "cvar" });
    svg.add("line", { x1: x(state.threshold), x2: x(state.threshold), y1: TOP, y2: floor, class: "threshold" });
    svg.add("circle", { cx: x(state.threshold), cy: y(state.cvar), r: 6, class: "minimum" });
    const minimum = `${short(state.cvar)} at η = ${short(state.threshold)}`;
    document.getElementById("tail-minimum").textContent = minimum;
    svg.label(`A convex curve of η; its minimum is CVaR, ${minimum}.`);
  }

  function show() {
    const state = states[Number(slider.value) - 1];
    document.getElementById("tail-value").textContent = percent(state.tail);
    slider.setAttribute("aria-valuetext", percent(state.tail));
    drawLosses(state);
    drawShares(state);
    drawCurve(state);
    document.getElementById("tail-said").textContent = state.said;
  }

  box.hidden = false;
  document.getElementById("tail-without").hidden = true;
  slider.addEventListener("input", show);
  let drawn = 0; // the width it was last drawn for; text keeps its size, so another width needs another drawing
  new ResizeObserver(() => {
    if (box.clientWidth !== drawn) show((drawn = box.clientWidth));
  }).observe(box);
})();
