// How many records have which integer or date: bars with a brush, and inputs for the same range.

import { useEffect, useRef, useState } from "preact/hooks";
import type { FieldSchema } from "../api/document";
import { count, label } from "../schema";
import { ValueInput } from "../ui/input";
import { Box, Choice, change, select, useCounts } from "./box";
import { base } from "./base";
import { loadBuckets } from "./buckets";
import type { Bucket, Buckets } from "./buckets";
import { chosenRange, chosenValues, conditionIn, conditionOn } from "./conditions";
import type { Range } from "./conditions";
import { dayOf, textOf } from "./days";

export function Histogram({ field, controls }: { field: FieldSchema; controls?: preact.ComponentChildren }) {
  const counted = useCounts(field, "histogram", (collection, filter, abort) => loadBuckets(field, collection, filter, abort));
  const found = counted.value;
  const range = base.value && chosenRange(base.value.tree, field);
  const isMissingChosen = (base.value && chosenValues(base.value.tree, field.name))?.includes(null) ?? false;
  return (
    <Box field={field} counted={counted} controls={controls}>
      {found && <Bars field={field} buckets={found} range={range} />}
      <Ends field={field} range={range ?? {}} />
      {found && (found.missing > 0 || isMissingChosen) && (
        <ul>
          <Choice
            count={count(found.missing)}
            share={0}
            isPressed={isMissingChosen}
            onToggle={() => select(field, isMissingChosen ? undefined : conditionOn(field, [null]))}
          >
            <i>no value</i>
          </Choice>
        </ul>
      )}
    </Box>
  );
}

interface BarsProps {
  field: FieldSchema;
  buckets: Buckets;
  /** The range that the filter selects; `undefined` if its conditions are others. */
  range: Range | undefined;
}

/** Changes when the colours of the page do. */
function useScheme(): boolean {
  const [isDark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)");
    const update = () => setDark(query.matches);
    query.addEventListener("change", update);
    return () => query.removeEventListener("change", update);
  }, []);
  return isDark;
}

function Bars({ field, buckets, range }: BarsProps) {
  const host = useRef<HTMLDivElement>(null);
  const [hovered, setHovered] = useState<Bucket | undefined>();
  const isDark = useScheme();
  const { from = -Infinity, to = Infinity } = range ?? {};
  const { items, edges } = buckets;
  useEffect(() => {
    const element = host.current;
    if (!element || items.length === 0) return;
    let remove: (() => void) | undefined;
    let isCurrent = true;
    const loading = import("./plot").then(({ drawBars }) => {
      if (!isCurrent) return;
      remove = drawBars(element, {
        items,
        isSelected: (item) => item.to >= from && item.from <= to,
        onHover: setHovered,
        onBrush: (first, last) => select(field, conditionIn(field, { from: first.from, to: last.to })),
      });
    });
    // Without the service, the search says so. The next counts load it again.
    loading.catch(() => undefined);
    return () => {
      isCurrent = false;
      remove?.();
    };
  }, [items, from, to, isDark]);
  if (items.length === 0) return <p class="quiet">No values</p>;
  const total = items.reduce((sum, item) => sum + item.count, 0);
  return (
    <>
      <p class="quiet summary" aria-hidden={hovered ? "true" : undefined}>
        {hovered ? `${hovered.label}: ${count(hovered.count)}` : `${count(total)} ${total === 1 ? "value" : "values"}`}
      </p>
      <div class="plot" ref={host} aria-hidden="true" title="Drag to select a range, or click on a bar." />
      <p class="quiet edges" aria-hidden="true">
        <span>{edges[0]}</span>
        <span>{edges[1]}</span>
      </p>
      <ul class="hidden" aria-label={`Records by ${label(field.name)}`}>
        {items.map((item) => (
          <li key={item.from}>
            {item.label}: {count(item.count)}
          </li>
        ))}
      </ul>
    </>
  );
}

/** The ends of the range as inputs. */
function Ends({ field, range }: { field: FieldSchema; range: Range }) {
  const type = field.type === "integer" ? "integer" : "date";
  const [problem, setProblem] = useState<string | undefined>();
  const text = (value: number | undefined) => (value === undefined ? "" : type === "date" ? textOf(value) : String(value));
  const set = (end: "from" | "to", value: string) =>
    change(field, (tree) => {
      const number = value === "" ? undefined : type === "date" ? dayOf(value) : Number(value);
      const next = { ...(chosenRange(tree, field) ?? range), [end]: number };
      const isReversed = next.from !== undefined && next.to !== undefined && next.from > next.to;
      setProblem(isReversed ? `found ${text(next.from)} to ${text(next.to)}; the first value must not be after the second` : undefined);
      return isReversed ? null : conditionIn(field, next);
    });
  const name = label(field.name);
  return (
    <div class="ends" role="group" aria-label={`Range of ${name}`}>
      <label>
        From
        <ValueInput type={type} value={text(range.from)} invalid={Boolean(problem)} onValue={(value) => set("from", value)} />
      </label>
      <label>
        To
        <ValueInput type={type} value={text(range.to)} invalid={Boolean(problem)} onValue={(value) => set("to", value)} />
      </label>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}
