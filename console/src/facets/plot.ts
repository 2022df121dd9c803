// Bars drawn by uPlot, with a brush that selects a range of them.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Bucket } from "./buckets";

/** The height of the plot in pixels. */
const HEIGHT = 76;
/** The number of bars whose gaps are a share of their width. */
const MAX_GAPS = 34;

export interface PlotOptions {
  items: Bucket[];
  /** Whether a bar is within the range that the filter selects. */
  isSelected: (item: Bucket) => boolean;
  /** Called with the bar under the pointer. */
  onHover: (item: Bucket | undefined) => void;
  /** Called when the user has brushed over bars, or clicked on one. */
  onBrush: (first: Bucket, last: Bucket) => void;
}

/** The values of colour variables where an element is, which a canvas does not resolve itself. */
function colour(host: HTMLElement, name: string): string {
  host.style.color = `var(${name})`;
  const value = getComputedStyle(host).color;
  host.style.color = "";
  return value;
}

/** Draws bars in an element. Returns how to remove them. */
export function drawBars(host: HTMLElement, { items, isSelected, onHover, onBrush }: PlotOptions): () => void {
  const [inside, outside] = [colour(host, "--accent"), colour(host, "--line")];
  const indices = items.map((_, index) => index);
  const selected = items.map((item) => (isSelected(item) ? item.count : null));
  const others = items.map((item) => (isSelected(item) ? null : item.count));
  // Of many bars the gap would be less than a pixel.
  const paths = uPlot.paths.bars?.(items.length > MAX_GAPS ? { size: [1, 120], gap: 1 } : { size: [0.86, 120], radius: 0.15 });
  const bars = (fill: string): uPlot.Series => ({ fill, stroke: fill, width: 0, points: { show: false }, ...(paths ? { paths } : {}) });
  const plot = new uPlot(
    {
      width: Math.max(host.clientWidth, 120),
      height: HEIGHT,
      padding: [4, 0, 0, 0],
      legend: { show: false },
      // The brush below also works for fingers and pens.
      cursor: { drag: { x: false, y: false, setScale: false }, points: { show: false }, y: false },
      scales: { x: { time: false, range: () => [-0.5, items.length - 0.5] }, y: { range: (_, __, max) => [0, max || 1] } },
      axes: [{ show: false }, { show: false }],
      series: [{}, bars(inside), bars(outside)],
      hooks: { setCursor: [({ cursor }) => onHover(items[cursor.idx ?? -1])] },
    },
    [indices, selected, others] as uPlot.AlignedData,
    host,
  );
  const removeBrush = addBrush(plot, items, onBrush);
  const observer = new ResizeObserver(() => plot.setSize({ width: Math.max(host.clientWidth, 120), height: HEIGHT }));
  observer.observe(host);
  return () => {
    observer.disconnect();
    removeBrush();
    plot.destroy();
  };
}

function addBrush(plot: uPlot, items: Bucket[], onBrush: PlotOptions["onBrush"]): () => void {
  const over = plot.over;
  let start: number | undefined;
  const at = (event: PointerEvent) => {
    const { left, width } = over.getBoundingClientRect();
    return Math.min(Math.max(0, event.clientX - left), width);
  };
  const show = (from: number, to: number) =>
    plot.setSelect({ left: Math.min(from, to), width: Math.abs(to - from), top: 0, height: over.clientHeight }, false);
  const bar = (position: number) => {
    const index = Math.round(plot.posToVal(position, "x"));
    return items[Math.min(Math.max(0, index), items.length - 1)];
  };
  const end = () => {
    start = undefined;
    show(0, 0);
  };
  const leave = (event: KeyboardEvent) => event.key === "Escape" && end();
  const down = (event: PointerEvent) => {
    if (event.button !== 0) return;
    over.setPointerCapture(event.pointerId);
    start = at(event);
  };
  const move = (event: PointerEvent) => start !== undefined && show(start, at(event));
  const up = (event: PointerEvent) => {
    if (start === undefined) return;
    const [first, last] = [start, at(event)].toSorted((a, b) => a - b).map(bar);
    end();
    if (first && last) onBrush(first, last);
  };
  over.addEventListener("pointerdown", down);
  over.addEventListener("pointermove", move);
  over.addEventListener("pointerup", up);
  over.addEventListener("pointercancel", end);
  addEventListener("keydown", leave);
  return () => {
    over.removeEventListener("pointerdown", down);
    over.removeEventListener("pointermove", move);
    over.removeEventListener("pointerup", up);
    over.removeEventListener("pointercancel", end);
    removeEventListener("keydown", leave);
  };
}
