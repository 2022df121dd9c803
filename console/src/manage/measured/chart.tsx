// The requests by day as stacked bars. The table below it has the same numbers for people who do not see it.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { count } from "../../schema";
import { CLASSES, NAMES, numbersOf } from "./counts";
import type { Class, Numbers } from "./counts";

const HEIGHT = 220;
const DAY = 24 * 60 * 60;

/** The variable of the style sheet that each class is drawn in. */
const COLOURS: Record<Class, string> = {
  read: "--accent",
  write: "--good",
  admin: "--keyword",
  sign_in: "--number",
  other: "--quiet",
  throttled: "--danger",
};

interface ChartProps {
  days: string[];
  counts: Map<string, Numbers>;
}

export function Chart({ days, counts }: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const [pointed, setPointed] = useState<number | undefined>();
  const scheme = useScheme();
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const chart = new uPlot(optionsOf(element, days, setPointed), dataOf(days, counts), element);
    const observer = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
    };
  }, [days, counts, scheme]);
  const day = pointed === undefined ? undefined : days[pointed];
  return (
    <figure class="chart">
      <div ref={host} role="img" aria-label="Requests by day as stacked bars; the table below has the numbers" />
      <ul class="legend" aria-hidden="true">
        {CLASSES.map((name) => (
          <li key={name}>
            <span class={`swatch ${name}`} />
            {NAMES[name]}
            {day && <b> {count(numbersOf(counts, day)[name])}</b>}
          </li>
        ))}
        <li class="quiet">{day ?? "Point at a day to see its numbers."}</li>
      </ul>
    </figure>
  );
}

/** Changes when the colours of the page do: a canvas does not follow the style sheet. */
function useScheme(): boolean {
  const [isDark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)");
    const follow = () => setDark(query.matches);
    query.addEventListener("change", follow);
    return () => query.removeEventListener("change", follow);
  }, []);
  return isDark;
}

/** The colour of a variable. Its text may have `light-dark()`, which a canvas does not know. */
function colourIn(element: HTMLElement): (variable: string) => string {
  return (variable) => {
    const probe = document.createElement("span");
    probe.style.color = `var(${variable})`;
    element.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };
}

/** The days in seconds, and the upper ends of the bars, the highest first: later bars are drawn over earlier ones. */
function dataOf(days: string[], counts: Map<string, Numbers>): uPlot.AlignedData {
  const ends = CLASSES.map((_, position) =>
    days.map((day) => {
      const numbers = numbersOf(counts, day);
      return CLASSES.slice(0, position + 1).reduce((sum, name) => sum + numbers[name], 0);
    }),
  );
  return [days.map((day) => Date.parse(day) / 1000), ...ends.toReversed()];
}

function optionsOf(element: HTMLElement, days: string[], onDay: (index: number | undefined) => void): uPlot.Options {
  const colour = colourIn(element);
  const axis: uPlot.Axis = {
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
  };
  const first = Date.parse(days[0] ?? "") / 1000;
  const last = Date.parse(days.at(-1) ?? "") / 1000;
  const bars = uPlot.paths.bars?.({ size: [0.7, 40] });
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: {
      x: { range: [first - DAY / 2, last + DAY / 2] },
      y: { range: (_, __, highest) => [0, Math.max(10, highest * 1.05)] },
    },
    axes: [
      { ...axis, grid: { show: false }, values: "{D} {MMM}", incrs: [DAY, 2 * DAY, 5 * DAY, 10 * DAY] },
      { ...axis, size: 60, values: (_, values) => values.map((value) => (Number.isInteger(value) ? count(value) : "")) },
    ],
    series: [
      {},
      ...CLASSES.toReversed().map((name) => ({
        label: NAMES[name],
        fill: colour(COLOURS[name]),
        width: 0,
        points: { show: false },
        ...(bars ? { paths: bars } : {}),
      })),
    ],
    hooks: { setCursor: [({ cursor }) => onDay(cursor.idx ?? undefined)] },
  };
}
