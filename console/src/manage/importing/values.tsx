// Values for fields of which a row has none.

import { useState } from "preact/hooks";
import type { ImportReport, RecordType } from "../../api/document";
import { label } from "../../schema";
import { ValueInput } from "../../ui/input";
import { change, options } from "./state";

/** The id of the input for the value of a field, which problems lead to. */
export function inputId(field: string): string {
  return `import-value-${field}`;
}

export function Values({ type, report }: { type: RecordType; report: ImportReport }) {
  const [added, setAdded] = useState<string[]>([]);
  const { values } = options.value;
  const lacking = [...(report.missing ?? []), ...report.problems.flatMap(({ field }) => field ?? [])];
  const isOffered = (name: string) => lacking.includes(name) || added.includes(name) || name in values;
  const fields = type.fields.filter(({ writable }) => writable);
  const others = fields.filter(({ name }) => !isOffered(name));
  return (
    <section aria-labelledby="import-values">
      <h2 id="import-values">Values for empty cells</h2>
      <div class="fields">
        {fields
          .filter(({ name }) => isOffered(name))
          .map((field) => (
            <div class="labelled" key={field.name}>
              <label for={inputId(field.name)}>{label(field.name)}</label>
              <ValueInput
                id={inputId(field.name)}
                type={field.type}
                value={values[field.name] ?? ""}
                onValue={(value) => change({ values: { ...options.peek().values, [field.name]: value } })}
              />
            </div>
          ))}
        {others.length > 0 && (
          <div class="labelled">
            <label for="import-value-more">Another field</label>
            <select
              id="import-value-more"
              value=""
              onChange={(event) => {
                const name = event.currentTarget.value;
                setAdded([...added, name]);
                requestAnimationFrame(() => document.getElementById(inputId(name))?.focus());
              }}
            >
              <option value="">Choose a field …</option>
              {others.map(({ name }) => (
                <option key={name} value={name}>
                  {label(name)}
                </option>
              ))}
            </select>
          </div>
        )}
      </div>
    </section>
  );
}
