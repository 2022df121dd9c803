// The first records as they would be.

import type { ImportReport, RecordType } from "../../api/document";
import { count, label, shown } from "../../schema";
import type { Value } from "../../schema";

export function Preview({ type, report }: { type: RecordType; report: ImportReport }) {
  const records = (report.preview ?? []) as Record<string, Value>[];
  if (records.length === 0) return null;
  const fields = type.fields.filter(({ name }) => records.some((record) => name in record));
  return (
    <section aria-labelledby="import-preview">
      <h2 id="import-preview">{records.length === 1 ? "The first record" : `The first ${records.length} records`} as they would be</h2>
      <div class="scroll" tabIndex={0} role="group" aria-labelledby="import-preview">
        <table class="list">
          <thead>
            <tr>
              {fields.map(({ name }) => (
                <th key={name} scope="col">
                  {label(name)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {records.map((record, index) => (
              <tr key={index}>
                {fields.map(({ name, type }) => (
                  <td key={name} class={type === "date" ? "day" : undefined}>{record[name] === null ? <span class="quiet">–</span> : shown(type, record[name])}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {report.trimmed > 0 && (
        <p class="quiet">
          {count(report.trimmed)} {report.trimmed === 1 ? "text has" : "texts have"} white space at the start or the end, which is
          removed, or line breaks, which become spaces.
        </p>
      )}
    </section>
  );
}
