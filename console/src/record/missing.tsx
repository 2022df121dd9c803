// Finds a record that the filter does not match, to show why.

import { useState } from "preact/hooks";
import { json } from "../api/client";
import type { RecordType } from "../api/document";
import { go } from "../place";
import { quoted } from "../query/clauses";
import { label, pathOf, recordType, titleOf } from "../schema";
import type { Item } from "../schema";
import { Dialog } from "../ui/dialog";
import { useLater, useLoaded } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { writableFields } from "./draft";

/** The number of records that a search for the missing one lists. */
const FOUND = 10;

/** Finds a record by its title, to show why the filter does not match it. */
export function FindMissing() {
  const [isOpen, setOpen] = useState(false);
  const type = recordType.value;
  const field = type && writableFields(type).find(({ operators }) => operators.includes("contains"));
  if (!type || !field) return null;
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Why is … not found?
      </button>
      {isOpen && (
        <Dialog title={`Which ${type.name.toLowerCase()} is not found?`} onClose={() => setOpen(false)}>
          <Finder
            type={type}
            field={field.name}
            onFound={({ id }) => {
              setOpen(false);
              go({ record: id, panel: "match" });
            }}
          />
        </Dialog>
      )}
    </>
  );
}

function Finder({ type, field, onFound }: { type: RecordType; field: string; onFound: (item: Item) => void }) {
  const [typed, setTyped] = useState("");
  const text = useLater(typed.trim());
  const found = useLoaded(text || undefined, (signal) =>
    json<{ items: Item[]; next_cursor?: string }>(pathOf(type), {
      query: { filter: `${field} contains ${quoted(text)}`, order_by: field, limit: FOUND },
      signal,
    }),
  );
  const items = text ? (found.value?.items ?? []) : [];
  return (
    <div class="finder">
      <label>
        {label(field)}
        <input type="search" autofocus value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
      </label>
      {text && <ProblemNote failure={found.failure} />}
      <ul aria-label="Records">
        {items.map((item) => (
          <li key={item.id}>
            <button type="button" onClick={() => onFound(item)}>
              {titleOf(type, item)}
              <span class="quiet">
                {type.natural_key
                  .filter((name) => name !== field)
                  .map((name) => item[name])
                  .join(", ")}
              </span>
            </button>
          </li>
        ))}
      </ul>
      <p class="quiet" role="status">
        {text && found.value && items.length === 0 && !found.loading && "No record of the collection has this text."}
        {text && found.value?.next_cursor && `The first ${FOUND} are listed; type more to narrow them.`}
      </p>
    </div>
  );
}
