// A record that another user has changed while it was edited: both versions side by side, and what to save.

import { useState } from "preact/hooks";
import type { FieldSchema, RecordType } from "../api/document";
import { label } from "../schema";
import type { Item, Value } from "../schema";
import { useAction } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { writableFields } from "./draft";
import { Shown } from "./facts";
import { ago } from "./past";
import type { Values } from "./writes";

type Side = "mine" | "theirs";

/** A field whose values differ. */
interface Difference {
  field: FieldSchema;
  before: Value;
  mine: Value;
  theirs: Value;
  /** The only side that changed it; `undefined` if both did. */
  only: Side | undefined;
}

function differencesOf(type: RecordType, base: Item, changes: Values, theirs: Item): Difference[] {
  return writableFields(type).flatMap((field) => {
    const before = base[field.name] ?? null;
    const other = theirs[field.name] ?? null;
    const own = Object.hasOwn(changes, field.name) ? (changes[field.name] ?? null) : before;
    if (own === other) return [];
    const only = own === before ? "theirs" : other === before ? "mine" : undefined;
    return [{ field, before, mine: own, theirs: other, only }];
  });
}

interface MergeProps {
  type: RecordType;
  base: Item;
  /** The changed values of the form. */
  mine: Values;
  theirs: Item;
  onSave: (changes: Values) => Promise<void>;
  onBack: () => void;
  onTakeTheirs: () => void;
}

export function Merge({ type, base, mine, theirs, onSave, onBack, onTakeTheirs }: MergeProps) {
  const differences = differencesOf(type, base, mine, theirs);
  const merged = () => new Map(differences.flatMap(({ field, only }) => (only ? [[field.name, only]] : [])));
  const [chosen, setChosen] = useState<ReadonlyMap<string, Side>>(merged);
  const { busy, failure, run } = useAction();
  const all = (side: Side) => new Map(differences.map(({ field }) => [field.name, side]));
  const open = differences.filter(({ field }) => !chosen.has(field.name)).length;
  const changes: Values = {};
  for (const { field, mine: own } of differences) if (chosen.get(field.name) === "mine") changes[field.name] = own;
  const isTheirs = open === 0 && Object.keys(changes).length === 0;
  const is = (choice: ReadonlyMap<string, Side>) =>
    differences.every(({ field }) => choice.get(field.name) === chosen.get(field.name));
  return (
    <section class="merge" aria-label="Versions">
      <p class="warning" role="alert">
        The record was changed {ago(theirs["updated_at"])} while you edited it (version {base.version} is
        version {theirs.version} now). Choose the values to save.
      </p>
      <div class="actions" role="group" aria-label="Choose all values">
        <button type="button" aria-pressed={is(all("mine"))} onClick={() => setChosen(all("mine"))}>
          Keep mine
        </button>
        <button type="button" aria-pressed={is(all("theirs"))} onClick={() => setChosen(all("theirs"))}>
          Take theirs
        </button>
        <button
          type="button"
          aria-pressed={is(merged())}
          title="Take what only one side has changed; choose where both have"
          onClick={() => setChosen(merged())}
        >
          Merge
        </button>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label="Values of both versions">
        <table>
          <thead>
            <tr>
              <th scope="col">Field</th>
              <th scope="col">Before</th>
              <th scope="col">Mine</th>
              <th scope="col">Theirs</th>
            </tr>
          </thead>
          <tbody>
            {differences.map(({ field, before, only, ...values }) => (
              <tr key={field.name} class={chosen.has(field.name) ? undefined : "open"}>
                <th scope="row">
                  {label(field.name)}
                  {!only && <span class="badge">both changed</span>}
                </th>
                <td>
                  <Shown field={field} value={before} />
                </td>
                {(["mine", "theirs"] as const).map((side) => (
                  <td key={side}>
                    <label>
                      <input
                        type="radio"
                        name={`choice-${field.name}`}
                        aria-label={`${label(field.name)}: ${side}`}
                        checked={chosen.get(field.name) === side}
                        onChange={() => setChosen(new Map([...chosen, [field.name, side]]))}
                      />{" "}
                      <Shown field={field} value={values[side]} />
                    </label>
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {differences.length === 0 && <p>Both versions have the same values now.</p>}
      <ProblemNote failure={failure} />
      <div class="actions save">
        <button type="button" onClick={onBack}>
          Back to the form
        </button>
        <span class="spring" />
        {open > 0 && <span class="quiet">Choose {open === 1 ? "one more value" : `${open} more values`}.</span>}
        <button
          type="button"
          class="primary"
          disabled={busy || open > 0}
          onClick={() => (isTheirs ? onTakeTheirs() : void run(() => onSave(changes)))}
        >
          {busy ? "Saving …" : isTheirs ? "Discard my changes" : "Save"}
        </button>
      </div>
    </section>
  );
}
