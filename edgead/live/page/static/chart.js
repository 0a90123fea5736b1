// Charts by uPlot, in the page's colours.
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Options of an axis in the page's colours. */
export const axis = (more = {}) => ({
  stroke: colour("soft"), grid: {stroke: colour("line"), width: 1}, ticks: {stroke: colour("line")},
  font: "12px system-ui,sans-serif", ...more,
});

/** Options of an axis of seconds since 1970, by this browser's clock: the day where it begins. */
export const times = () => axis({space: 70, values: (_, splits) => {
  let day = "";
  return splits.map(at => {
    const date = new Date(1000 * at), before = day;
    day = date.toLocaleDateString("en-GB", {day: "numeric", month: "short"});
    const time = date.toLocaleTimeString("en-GB", {hour: "2-digit", minute: "2-digit"});
    return day === before ? time : `${time}\n${day}`;
  });
}});

/**
 * A chart in `root` that follows its width and the light or dark of the page.
 * `make(colour)` gives the options of uPlot without width. The result has `set(data)` and `end()`.
 */
export function chart(root, height, make) {
  let plot = null, data = null, width = 0;
  const draw = () => {
    width = Math.floor(root.clientWidth);
    plot?.destroy();
    plot = null;
    if (data && width > 0) plot = new uPlot({width, height, ...make(colour)}, data, root);
    root.plot = plot;  // for whoever looks at the page from outside
  };
  const watcher = new ResizeObserver(() => {
    if (Math.floor(root.clientWidth) === width) return;
    if (plot === null) { draw(); return; }
    width = Math.floor(root.clientWidth);
    plot.setSize({width, height});
  });
  watcher.observe(root);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", draw);
  return {
    set(next) {
      data = next;
      if (plot) plot.setData(data); else draw();
    },
    get plot() { return plot; },
    end() {
      watcher.disconnect();
      scheme.removeEventListener("change", draw);
      plot?.destroy();
    },
  };
}
