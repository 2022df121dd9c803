// The import while it runs, and what came of it.

import type { ImportReport, RecordType } from "../../api/document";
import { elsewhere, fragmentOf } from "../../place";
import { count, label } from "../../schema";
import { notifyProblem } from "../../ui/notices";
import { ProblemNote } from "../../ui/problem";
import { save } from "../files";
import { Existing, placeOf } from "./problems";
import { rejectedRows } from "./rejected";
import { options, run, source, start } from "./state";

export function Outcome({ type }: { type: RecordType }) {
  const current = run.value;
  const isAllOrNothing = options.value.onConflict === "fail";
  if (current.state === "running") {
    return (
      <section aria-label="Import">
        <p role="status">{current.sent === undefined ? "Importing …" : "Sending the file …"}</p>
        <progress aria-label="Import" {...(current.sent === undefined ? {} : { value: current.sent })} />
        <button type="button" onClick={() => current.abort.abort()}>
          Stop
        </button>
      </section>
    );
  }
  if (current.state === "interrupted") {
    return (
      <section aria-label="Import">
        <ProblemNote failure={current.failure} />
        <p class="warning" role="status">
          The import was interrupted.{" "}
          {isAllOrNothing
            ? "If the service had not written all rows, it has written none."
            : "Rows that were written before stay."}{" "}
          Continue to send the file again: no row is written twice, and the report is about the whole file.
        </p>
        <button type="button" class="primary" onClick={() => void start(current.key)}>
          Continue the import
        </button>
      </section>
    );
  }
  return current.state === "done" ? <Done type={type} report={current.report} /> : null;
}

function Done({ type, report }: { type: RecordType; report: ImportReport }) {
  const { created, updated, skipped, rejected, repeated, errors, file: how } = report;
  const file = source.value?.file;
  const latest = { ...elsewhere("records"), collection: type.collection, orderBy: "updated_at desc" };
  return (
    <section aria-label="Result of the import">
      <p class="good" role="status">
        Imported: {count(created)} created, {count(updated)} updated, {count(skipped)} left as they are, {count(rejected)} rejected
        {repeated > 0 && ` (${count(repeated)} ${repeated === 1 ? "row is" : "rows are"} repeated in this file)`}.
      </p>
      {rejected > 0 && file && (
        <>
          <ul class="bounded">
            {errors.map(({ line, row, pointer, detail }) => (
              <li key={`${line} ${pointer} ${detail}`}>
                {label(placeOf({ line, row }))}: {pointer && `${label(pointer.slice(1))}: `}
                {detail}
              </li>
            ))}
          </ul>
          <p>
            <button
              type="button"
              onClick={() => {
                const name = `${file.name.replace(/\.[^.]*$/, "")}-rejected.csv`;
                rejectedRows(file, how, options.peek().headerRow, errors).then((content) => save(name, content), notifyProblem);
              }}
            >
              Download the rejected rows
            </button>{" "}
            {rejected > new Set(errors.map(({ line }) => line)).size && (
              <span class="quiet">The service lists the first hundred: correct them and import the file again for the others.</span>
            )}
          </p>
        </>
      )}
      <Existing report={report} />
      <p>
        <a href={fragmentOf(latest)}>Show the records, the latest first</a>
      </p>
    </section>
  );
}
