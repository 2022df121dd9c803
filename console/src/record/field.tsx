// A field of a form: its label, its input, what it expects, and what is wrong with it.

import { useId, useState } from "preact/hooks";
import type { FieldSchema } from "../api/document";
import { count, distance, label, recordType, shown } from "../schema";
import { hasSuggestions, useSuggestions } from "./suggestions";

interface FieldInputProps {
  field: FieldSchema;
  value: string | null;
  onValue: (value: string | null) => void;
  problems?: string[];
  /** Whether the value differs from the saved one. */
  isChanged?: boolean;
}

/** A text of more characters has an input that wraps. */
const LONG = 300;

export function FieldInput({ field, value, onValue, problems = [], isChanged }: FieldInputProps) {
  const id = useId();
  const [isActive, setActive] = useState(false);
  const suggestions = useSuggestions(field, value ?? "", isActive);
  const set = (text: string) => onValue(text === "" && field.nullable && !isTextThatMayBeEmpty(field) ? null : text);
  const attributes = {
    id,
    value: value ?? "",
    name: field.name,
    placeholder: value === null ? "no value" : undefined,
    "aria-required": field.required ? ("true" as const) : undefined,
    "aria-invalid": problems.length > 0 ? ("true" as const) : undefined,
    "aria-describedby": `${id}-help ${id}-problem`,
  };
  const onInput = (event: { currentTarget: { value: string } }) => set(event.currentTarget.value);
  const isLong = field.type === "text" && (field.max_length ?? 0) > LONG;
  return (
    <div class={isChanged ? "field changed" : "field"}>
      <div class="name">
        <label for={id}>{label(field.name)}</label>
        {isChanged && <span class="badge">changed</span>}
        {field.nullable && value !== null && (
          <button type="button" class="link" aria-label={`Clear ${label(field.name)}`} onClick={() => onValue(null)}>
            No value
          </button>
        )}
      </div>
      {field.type === "boolean" ? (
        <select {...attributes} onChange={onInput}>
          <option value="">{field.nullable ? "no value" : "choose …"}</option>
          <option value="true">true</option>
          <option value="false">false</option>
        </select>
      ) : field.type === "date" ? (
        <input {...attributes} type="date" max="9999-12-31" onInput={onInput} />
      ) : isLong ? (
        <textarea
          {...attributes}
          rows={4}
          // Texts of records have no line breaks; pasted ones become spaces.
          onInput={(event) => set(event.currentTarget.value.replace(/\s*\n\s*/g, " "))}
        />
      ) : (
        <input
          {...attributes}
          type="text"
          inputMode={field.type === "integer" ? "numeric" : undefined}
          class={field.type}
          autocomplete="off"
          list={hasSuggestions(recordType.value, field) ? `${id}-values` : undefined}
          onFocus={() => setActive(true)}
          onBlur={() => setActive(false)}
          onInput={onInput}
        />
      )}
      {hasSuggestions(recordType.value, field) && (
        <datalist id={`${id}-values`}>
          {suggestions.map((text) => (
            <option key={text} value={text} />
          ))}
        </datalist>
      )}
      <p class="help" id={`${id}-help`}>
        {[expectation(field), field.description, readable(field, value)].filter(Boolean).join(" ")}
      </p>
      <div id={`${id}-problem`}>
        {problems.map((problem) => (
          <p class="wrong" key={problem}>
            {label(field.name)} {problem}
          </p>
        ))}
      </div>
    </div>
  );
}

/** An empty text is a value of such a field, other than no value. */
function isTextThatMayBeEmpty(field: FieldSchema): boolean {
  return field.type === "text" && field.min_length === 0;
}

/** What a field expects, in words. */
function expectation({ type, required, minimum, maximum, min_length, max_length, ...field }: FieldSchema): string {
  const parts = [required ? "Required" : "Optional"];
  if (field.default !== undefined) parts.push(`${field.default} by default`);
  if (type === "integer") {
    if (minimum !== undefined && maximum !== undefined) parts.push(`from ${minimum} to ${maximum}`);
    else if (minimum !== undefined) parts.push(`at least ${minimum}`);
    else if (maximum !== undefined) parts.push(`at most ${maximum}`);
    else parts.push("a whole number");
  }
  if (type === "text" && max_length !== undefined) {
    if (min_length === max_length) parts.push(`${count(max_length)} characters`);
    else parts.push(min_length && min_length > 1 ? `${min_length} to ${count(max_length)} characters` : `up to ${count(max_length)} characters`);
  }
  if (type === "timestamp") parts.push("such as 2026-01-31T12:00:00Z");
  if (type === "id") parts.push("a UUID");
  return `${parts.join(", ")}.`;
}

/** A time in the time zone of the user, and how far a date is away. */
function readable({ type }: FieldSchema, value: string | null): string | undefined {
  const away = distance(type, value);
  if (!away || value === null) return undefined;
  return type === "timestamp" ? `This is ${shown(type, value)}, ${away}.` : `This is ${away}.`;
}
