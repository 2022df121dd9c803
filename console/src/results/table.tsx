// The table of records. Only the visible rows are in the document.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { FieldSchema, FieldType } from "../api/document";
import { missing, refresh } from "../query/state";
import { go, place } from "../place";
import { columnsOf, distance, label, nameField, recordType, shown, titleOf } from "../schema";
import type { Item } from "../schema";
import { ProblemNote } from "../ui/problem";
import { clicked, keysOf } from "./order";
import "./results.css";
import type { Rows } from "./rows";
import { rows, select, selected } from "./state";

/** The height of a row in pixels, as in the style sheet. */
const ROW = 36;
/** The rows that are drawn above and below the visible ones. */
const MARGIN = 12;
/** The rows that are drawn before the height of the table is known. */
const FIRST = 20;
/** The rows that are loaded before they become visible. */
const AHEAD = 60;
/** The rows that the scrolled area represents. Browsers limit the height of an element to about 17 million pixels. */
const WINDOW = 200_000;

/** How many rows the area moves when its end is near. */
const STEP = WINDOW / 2;

/** The widths of the columns in rem. Texts share what the others leave by these widths, and have at least as much. */
const WIDTHS: Record<FieldType, number> = { text: 11, integer: 8.5, boolean: 8.5, date: 15, timestamp: 20, id: 21 };
/** The width of the column that names the record, and of the check boxes beside it. */
const NAME_WIDTH = 14;
const CHOICE_WIDTH = 2.6;

/** The width of each column as CSS. `100cqw` is the width of the box of the table. */
function widthsOf(columns: FieldSchema[], name: FieldSchema | undefined): string[] {
  const weight = (field: FieldSchema) => (field === name ? NAME_WIDTH : WIDTHS[field.type]);
  const sum = (fields: FieldSchema[]) => fields.reduce((total, field) => total + weight(field), 0);
  const texts = columns.filter(({ type }) => type === "text");
  const fixed = CHOICE_WIDTH + sum(columns.filter(({ type }) => type !== "text"));
  return columns.map((field) => {
    if (field.type !== "text") return `${weight(field)}rem`;
    // A name that stays in view must leave space for the other columns in a narrow window.
    const least = field === name ? `min(${NAME_WIDTH}rem, 40vw)` : `${weight(field)}rem`;
    return `max(${least}, (100cqw - ${fixed}rem) * ${weight(field) / sum(texts)})`;
  });
}

export function Results() {
  const current = rows.value;
  const type = recordType.value;
  if (!type || !current) return null;
  current.changes.value;
  const columns = columnsOf(type, place.value.columns);
  return (
    <>
      <ProblemNote failure={missing.value.length > 0 ? undefined : current.failure}>
        <button type="button" onClick={refresh}>
          Try again
        </button>
      </ProblemNote>
      <Table key={current.search.key} rows={current} columns={columns} name={columns.find((field) => field === nameField(type))} />
    </>
  );
}

interface TableProps {
  rows: Rows;
  columns: FieldSchema[];
  /** The column that names the records, if it is shown. It stays in view beside the check boxes. */
  name: FieldSchema | undefined;
}

function Table({ rows: source, columns, name }: TableProps) {
  const scroll = useRef<HTMLDivElement>(null);
  const [base, setBase] = useState(0);
  const [view, setView] = useState({ first: 0, last: FIRST });
  const [focused, setFocused] = useState(0);
  const represented = Math.min(source.known - base, WINDOW);

  const measure = () => {
    const element = scroll.current;
    if (!element) return;
    element.classList.toggle("moved", element.scrollLeft > 0);
    const top = Math.floor(element.scrollTop / ROW);
    const visible = Math.ceil(element.clientHeight / ROW) + 1;
    if (top + visible > WINDOW - MARGIN && source.known > base + WINDOW) {
      setBase(base + STEP);
      element.scrollTop -= STEP * ROW;
      return;
    }
    if (base > 0 && top < MARGIN) {
      setBase(base - STEP);
      element.scrollTop += STEP * ROW;
      return;
    }
    const first = Math.max(0, top - MARGIN);
    const last = top + visible + MARGIN;
    setView((before) => (before.first === first && before.last === last ? before : { first, last }));
    source.show(base + first, base + last + AHEAD);
  };
  useLayoutEffect(measure, [source, base, source.known]);
  const latest = useRef(measure);
  latest.current = measure;
  useEffect(() => {
    const observer = new ResizeObserver(() => latest.current());
    if (scroll.current) observer.observe(scroll.current);
    return () => observer.disconnect();
  }, []);

  const first = Math.min(view.first, Math.max(0, represented - 1));
  const last = Math.min(view.last, represented);
  const indices = Array.from({ length: Math.max(0, last - first) }, (_, index) => base + first + index);

  const focus = (index: number) => {
    const target = Math.min(Math.max(0, index), Math.max(0, source.known - 1));
    setFocused(target);
    const element = scroll.current;
    if (!element) return;
    const top = (target - base) * ROW;
    if (top < element.scrollTop) element.scrollTop = top;
    const bottom = top + 2 * ROW - element.clientHeight;
    if (bottom > element.scrollTop) element.scrollTop = bottom;
    requestAnimationFrame(() => element.querySelector<HTMLElement>(`[data-index="${target}"]`)?.focus());
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!(event.target instanceof HTMLElement) || event.target.dataset["index"] === undefined) return;
    const item = source.at(focused);
    const page = Math.floor((scroll.current?.clientHeight ?? 0) / ROW) - 1;
    const moves: Record<string, number> = {
      ArrowDown: focused + 1,
      ArrowUp: focused - 1,
      PageDown: focused + page,
      PageUp: focused - page,
      Home: 0,
      End: source.known - 1,
    };
    const target = moves[event.key];
    if (target !== undefined) focus(target);
    else if (event.key === "Enter" && item) go({ record: item.id, panel: "" });
    else if (event.key === " " && item) select([item], !selected.peek().has(item.id));
    else return;
    event.preventDefault();
  };

  const chosen = selected.value;
  const here = [...source.loaded()];
  const all = here.length > 0 && here.every((item) => chosen.has(item.id));
  const widths = widthsOf(columns, name);
  return (
    <div class="table" ref={scroll} onScroll={measure} onKeyDown={onKeyDown}>
      <table aria-rowcount={source.isComplete ? source.known + 1 : (source.total ?? -2) + 1} aria-busy={source.loading}>
        <colgroup>
          <col style={{ width: `${CHOICE_WIDTH}rem` }} />
          {columns.map((field, index) => (
            <col key={field.name} style={{ width: widths[index] }} />
          ))}
        </colgroup>
        <thead>
          <tr aria-rowindex={1}>
            <th class="choice">
              <input
                type="checkbox"
                aria-label="Select the loaded records"
                checked={all}
                disabled={source.isOther}
                onChange={(event) => select(here, event.currentTarget.checked)}
              />
            </th>
            {columns.map((field) => (
              <Heading key={field.name} field={field} kind={kindOf(field, name)} />
            ))}
          </tr>
        </thead>
        <tbody inert={source.isOther}>
          <tr class="space" aria-hidden="true" style={{ height: `${first * ROW}px` }} />
          {indices.map((index) => (
            <Row
              key={index}
              index={index}
              item={source.at(index)}
              columns={columns}
              name={name}
              now={source.now}
              isFocusable={index === focused || (index === base + first && (focused < base + first || focused >= base + last))}
              isSelected={chosen.has(source.at(index)?.id ?? "")}
              onFocus={() => setFocused(index)}
            />
          ))}
          <tr class="space" aria-hidden="true" style={{ height: `${Math.max(0, represented - last) * ROW}px` }} />
        </tbody>
      </table>
      {source.loading && <p class="quiet loading">Loading …</p>}
    </div>
  );
}

/** The class of the cells of a column. */
function kindOf(field: FieldSchema, name: FieldSchema | undefined): string {
  return field === name ? `${field.type} name` : field.type;
}

function Heading({ field, kind }: { field: FieldSchema; kind: string }) {
  const { orderBy } = place.value;
  const keys = keysOf(orderBy);
  const position = keys.findIndex((key) => key.name === field.name);
  const key = keys[position];
  const direction = key ? (key.descending ? "descending" : "ascending") : "none";
  return (
    <th aria-sort={direction} class={kind}>
      <button
        type="button"
        title={`${field.description}\n\nClick to sort; with Shift, as a further key.`}
        onClick={(event) => go({ orderBy: clicked(orderBy, field.name, event.shiftKey) })}
      >
        {label(field.name)}
        {key && (
          <span aria-hidden="true" class="direction">
            {key.descending ? "↓" : "↑"}
            {keys.length > 1 && position + 1}
          </span>
        )}
      </button>
    </th>
  );
}

interface RowProps {
  index: number;
  item: Item | undefined;
  columns: FieldSchema[];
  name: FieldSchema | undefined;
  now: Date;
  isFocusable: boolean;
  isSelected: boolean;
  onFocus: () => void;
}

function Row({ index, item, columns, name, now, isFocusable, isSelected, onFocus }: RowProps) {
  const type = recordType.value;
  if (!item || !type) {
    return (
      <tr aria-rowindex={index + 2}>
        <td colSpan={columns.length + 1} class="quiet">
          …
        </td>
      </tr>
    );
  }
  return (
    <tr
      aria-rowindex={index + 2}
      aria-selected={isSelected}
      data-index={index}
      tabIndex={isFocusable ? 0 : -1}
      class={place.value.record === item.id ? "open" : undefined}
      onFocus={onFocus}
      onClick={(event) => {
        const isControl = event.target instanceof Element && event.target.closest("input");
        if (!isControl && !getSelection()?.toString()) go({ record: item.id, panel: "" });
      }}
    >
      <td class="choice">
        <input
          type="checkbox"
          tabIndex={-1}
          aria-label={`Select ${titleOf(type, item)}`}
          checked={isSelected}
          onChange={(event) => select([item], event.currentTarget.checked)}
        />
      </td>
      {columns.map((field) => (
        <Cell key={field.name} field={field} kind={kindOf(field, name)} item={item} now={now} />
      ))}
    </tr>
  );
}

function Cell({ field, kind, item, now }: { field: FieldSchema; kind: string; item: Item; now: Date }) {
  const value = item[field.name];
  const text = shown(field.type, value);
  const away = distance(field.type, value, now);
  return (
    <td class={kind} title={text}>
      {value === null ? <span class="quiet">–</span> : text}
      {away && <span class="quiet distance">{away}</span>}
    </td>
  );
}
