// The values and ranges of the fields of the records that are shown, beside the table.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { FieldSchema, RecordType } from "../api/document";
import { missing } from "../query/state";
import { label, recordType } from "../schema";
import { Menu } from "../ui/menu";
import { ProblemNote } from "../ui/problem";
import { base, baseFailure } from "./base";
import "./facets.css";
import { Histogram } from "./histogram";
import { Months } from "./months";
import { isByMonth, isCrowded, setByMonth, show, shownFields, suitable } from "./settings";
import { Values } from "./values";

/** The width below which the facets are above the table, closed at first, as in the style sheet. */
const narrow = matchMedia("(max-width: 700px)");

const KEY = "cinequery.facets.closed";

const isOpen = signal(isOpenAtFirst());

function isOpenAtFirst(): boolean {
  try {
    return !narrow.matches && localStorage.getItem(KEY) === null;
  } catch {
    return !narrow.matches;
  }
}

function toggle(): void {
  isOpen.value = !isOpen.peek();
  if (narrow.matches) return;
  try {
    if (isOpen.peek()) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, "true");
  } catch {
    // The storage is not allowed: the choice lasts until the page is left.
  }
}

export function Facets() {
  useEffect(() => {
    const update = () => (isOpen.value = isOpenAtFirst());
    narrow.addEventListener("change", update);
    return () => narrow.removeEventListener("change", update);
  }, []);
  const type = recordType.value;
  if (!type) return null;
  return (
    <aside class={isOpen.value ? "facets" : "facets closed"} aria-label="Facets">
      <header>
        <button type="button" class="icon" aria-expanded={isOpen.value} aria-controls="facets" onClick={toggle}>
          <span aria-hidden="true">{isOpen.value ? "▾" : "▸"}</span> Facets
        </button>
        {isOpen.value && <Chooser type={type} />}
      </header>
      <div id="facets" hidden={!isOpen.value}>
        {isOpen.value && <Shown type={type} />}
      </div>
    </aside>
  );
}

function Shown({ type }: { type: RecordType }) {
  const current = base.value;
  // After a change of the collection, the search of the one before is known until the filter has been checked.
  if (missing.value.length > 0) return <p class="quiet">Enter the values of the parameters to count records.</p>;
  if (current?.collection !== type.collection) {
    return baseFailure.value ? <ProblemNote failure={baseFailure.value} /> : <p class="quiet">Loading …</p>;
  }
  if (!current.valid) return <p class="quiet">Correct the filter to see the values of its records.</p>;
  const fields = shownFields(type);
  return (
    <>
      {fields.length === 0 && <p class="quiet">Choose fields to see their values.</p>}
      {fields.map((field) => (
        <Facet key={field.name} type={type} field={field} />
      ))}
    </>
  );
}

function Facet({ type, field }: { type: RecordType; field: FieldSchema }) {
  switch (field.type) {
    case "integer":
      return <Histogram field={field} />;
    case "date":
    case "timestamp": {
      const isOn = isByMonth(type, field.name);
      const view = (name: string, byMonth: boolean, title: string) => (
        <button type="button" title={title} aria-pressed={isOn === byMonth} onClick={() => setByMonth(type, field.name, byMonth)}>
          {name}
        </button>
      );
      const controls = (
        <span class="views" role="group" aria-label={`View of ${label(field.name)}`}>
          {view("Chart", false, "All values as bars")}
          {view("Months", true, "The coming months, from today")}
        </span>
      );
      return isOn ? <Months field={field} controls={controls} /> : <Histogram field={field} controls={controls} />;
    }
    default:
      return <Values type={type} field={field} />;
  }
}

/** The choice of the fields that are shown. */
function Chooser({ type }: { type: RecordType }) {
  const shown = shownFields(type).map(({ name }) => name);
  return (
    <Menu label="Fields" title="Fields of the facets">
      {suitable(type).map(({ name }) => (
        <div class="choice" key={name}>
          <label>
            <input
              type="checkbox"
              aria-label={`Show ${label(name)}`}
              checked={shown.includes(name)}
              onChange={(event) => show(type, name, event.currentTarget.checked)}
            />
            {label(name)}
            {isCrowded(type, name) && <span class="quiet">many values</span>}
          </label>
        </div>
      ))}
    </Menu>
  );
}
