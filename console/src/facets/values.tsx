// The most frequent values of a field, as buttons that select them.

import { useEffect, useState } from "preact/hooks";
import type { FieldSchema, RecordType } from "../api/document";
import { count, label } from "../schema";
import type { Value } from "../schema";
import { Box, Choice, change, useCounts } from "./box";
import { base, counts } from "./base";
import { chosenValues, conditionOn } from "./conditions";
import { isChosen, markCrowded, show } from "./settings";

/** The number of values at first, and after each click on "more". */
const STEPS = [8, 100, 1000];

/** A field with more values than this, and more than half as many as records, is not one to choose from. */
const MANY = 40;

export function Values({ type, field }: { type: RecordType; field: FieldSchema }) {
  const [step, setStep] = useState(0);
  const limit = STEPS[step];
  const counted = useCounts(field, String(limit), (collection, filter, abort) =>
    counts(collection, { by: field.name, filter, limit }, abort),
  );
  const found = counted.value;
  const distinct = found ? found.items.length + found.rest.values : 0;
  const isCrowded = found !== undefined && distinct > MANY && distinct > found.total / 2;
  useEffect(() => {
    if (isCrowded) markCrowded(type, field.name);
  }, [isCrowded]);

  const chosen = (base.value && chosenValues(base.value.tree, field.name)) ?? [];
  const toggle = (value: Value) => {
    change(field, (tree) => {
      // Values of parameters are known in the search that was sent only.
      const before = chosenValues(tree, field.name) ?? chosen;
      const values = before.includes(value) ? before.filter((other) => other !== value) : [...before, value];
      return conditionOn(field, values);
    });
  };
  // A choice of the user is shown however many values it has.
  const isTooMany = isCrowded && !isChosen(type, field.name);
  const items = (isTooMany ? [] : (found?.items ?? [])).map((item) => ({ value: item.value as Value, count: item.count }));
  // Chosen values stay within reach, however rare they are.
  const others = chosen.filter((value) => !items.some((item) => item.value === value));
  const most = Math.max(1, ...items.map((item) => item.count));
  const rest = isTooMany ? 0 : (found?.rest.values ?? 0);
  return (
    <Box field={field} counted={counted}>
      {found && distinct === 0 && others.length === 0 && <p class="quiet">No values</p>}
      {isTooMany && (
        <p class="quiet">
          Too many different values to list: {count(distinct)}. Narrow the filter, or{" "}
          <button type="button" class="link" onClick={() => show(type, field.name, true)}>
            show the most frequent
          </button>
        </p>
      )}
      <ul class={step > 0 ? "long" : undefined}>
        {others.map((value) => (
          <Choice key={String(value)} count={rest === 0 && found && !isTooMany ? "0" : undefined} share={0} isPressed onToggle={() => toggle(value)}>
            <Name value={value} />
          </Choice>
        ))}
        {items.map((item) => (
          <Choice
            key={`${typeof item.value} ${item.value}`}
            title={String(item.value ?? "")}
            count={count(item.count)}
            share={item.count / most}
            isPressed={chosen.includes(item.value)}
            onToggle={() => toggle(item.value)}
          >
            <Name value={item.value} />
          </Choice>
        ))}
      </ul>
      {rest > 0 && step + 1 < STEPS.length && (
        <button type="button" class="link" aria-label={`More values of ${label(field.name)}`} onClick={() => setStep(step + 1)}>
          {count(rest)} more …
        </button>
      )}
      {rest > 0 && step + 1 === STEPS.length && <p class="quiet">and {count(rest)} more values</p>}
      {step > 0 && (
        <button type="button" class="link" aria-label={`Fewer values of ${label(field.name)}`} onClick={() => setStep(0)}>
          Fewer
        </button>
      )}
    </Box>
  );
}

function Name({ value }: { value: Value }) {
  if (value === null) return <i>no value</i>;
  return value === "" ? <i>empty</i> : <>{String(value)}</>;
}
