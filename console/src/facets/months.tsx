// What happens when: the records of the coming months by a date, and those before today.

import type { FieldSchema } from "../api/document";
import { count } from "../schema";
import { Box, Choice, conditionText, select, useCounts } from "./box";
import { base, both, counts } from "./base";
import { conditionIn } from "./conditions";
import type { Range } from "./conditions";
import { dayOf, nameOf, startOf, today } from "./days";

/** The number of months that are shown. */
const MONTHS = 24;

interface Span {
  label: string;
  condition: string;
  count: number;
}

async function load(field: FieldSchema, collection: string, filter: string, abort: AbortSignal): Promise<Span[]> {
  const now = today();
  const countIn = (condition: string, interval: string) =>
    counts(collection, { by: field.name, filter: both(filter, condition), interval, limit: 1000 }, abort);
  const past = field.type === "date" ? `${field.name} < today` : inRange({ to: now - 1 });
  const end = startOf("month", now, MONTHS);
  const future = inRange({ from: end });
  const before = await countIn(past, "year");
  const coming = await countIn(inRange({ from: now, to: end - 1 }), "month");
  const later = await countIn(future, "year");

  function inRange(range: Range): string {
    return conditionIn(field, range) ?? "";
  }
  const found = new Map(coming.items.map((item) => [dayOf(String(item.value)), item.count]));
  const months = Array.from({ length: MONTHS }, (_, index): Span => {
    const first = startOf("month", now, index);
    const condition = inRange({ from: Math.max(first, now), to: startOf("month", first, 1) - 1 });
    return { label: nameOf("month", first), condition, count: found.get(first) ?? 0 };
  });
  return [
    { label: "Before today", condition: past, count: before.total },
    ...months,
    { label: "Later", condition: future, count: later.total },
  ];
}

export function Months({ field, controls }: { field: FieldSchema; controls: preact.ComponentChildren }) {
  // The day is part of the key: a page that is open over midnight counts from the new day.
  const counted = useCounts(field, `months ${today()}`, (collection, filter, abort) => load(field, collection, filter, abort));
  const spans = counted.value ?? [];
  const chosen = base.value && conditionText(base.value, field);
  // Those before today and after the months have no bars: they can be so many that the bars of the months vanish.
  const most = Math.max(1, ...spans.slice(1, -1).map((span) => span.count));
  const share = (span: Span, index: number) => (index > 0 && index < spans.length - 1 ? span.count / most : 0);
  return (
    <Box field={field} counted={counted} controls={controls}>
      <ul class="long">
        {spans.map((span, index) => (
          <Choice
            key={span.label}
            count={count(span.count)}
            share={share(span, index)}
            isPressed={span.condition === chosen}
            onToggle={() => select(field, span.condition === chosen ? undefined : span.condition)}
          >
            {span.label}
          </Choice>
        ))}
      </ul>
    </Box>
  );
}
