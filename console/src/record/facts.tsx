import type { FieldSchema, RecordType } from "../api/document";
import { distance, label, shown } from "../schema";
import type { Item, Value } from "../schema";
import { ago } from "./past";

interface FactsProps {
  type: RecordType;
  item: Item;
  fields: FieldSchema[];
}

/** The times of the service, which have passed. */
const TIMES = ["created_at", "updated_at"];

/** Values that the user cannot change. */
export function Facts({ item, fields }: FactsProps) {
  return (
    <dl class="facts">
      {fields.map((field) => (
        <div key={field.name} title={field.description}>
          <dt>{label(field.name)}</dt>
          <dd class={field.type}>
            <Shown field={field} value={item[field.name]} />{" "}
            <span class="quiet">
              {TIMES.includes(field.name) ? ago(item[field.name]) : distance(field.type, item[field.name])}
            </span>
          </dd>
        </div>
      ))}
    </dl>
  );
}

/** A value of a field, also of one that is no longer declared. */
export function Shown({ field, value }: { field: FieldSchema | undefined; value: Value | undefined }) {
  if (value === null || value === undefined) return <span class="quiet">no value</span>;
  if (value === "") return <span class="quiet">empty text</span>;
  return <span class={field?.type === "date" ? "whole" : undefined}>{shown(field?.type ?? "text", value)}</span>;
}
