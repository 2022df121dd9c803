// Why no record matches, and how to change the filter so that some do.

import type { MoviePage } from "../api/document";
import { elsewhere, fragmentOf, go, place } from "../place";
import { amended } from "../query/clauses";
import { check } from "../query/state";
import { rows } from "../results/state";
import { count, label, recordType } from "../schema";
import { allows } from "../session";
import { notifyProblem } from "../ui/notices";

type Reason = NonNullable<MoviePage["why"]>[number];

export function WhyNothing() {
  const current = rows.value;
  const type = recordType.value;
  if (!current || !type) return null;
  current.changes.value;
  const { isComplete, known, failure, why, search } = current;
  if (!isComplete || known > 0 || failure || search.collection !== type.collection) return null;
  if (!search.filter) {
    return (
      <section class="why" aria-label="No records">
        <h2>{label(type.collection)} has no records yet</h2>
        {allows(`${type.collection}:write`) && (
          <p>
            <button type="button" onClick={() => go({ record: "new", panel: "" })}>
              Create the first one
            </button>{" "}
            <a href={fragmentOf({ ...elsewhere("import"), collection: type.collection })}>Import a file</a>
          </p>
        )}
      </section>
    );
  }
  return (
    <section class="why" aria-label="Why no record matches">
      <h2>No record matches</h2>
      {why.length > 1 && <p class="quiet">Each line says how many records match without one of the conditions.</p>}
      <ul>
        {why.map((reason, index) => (
          <Condition key={`${index} ${reason.condition}`} reason={reason} index={index} />
        ))}
      </ul>
      {why.length > 1 && why.every(({ without }) => without === 0) && (
        <p>No condition alone is the cause. Remove several of them, or all.</p>
      )}
      <button type="button" onClick={() => apply("")}>
        Clear the filter
      </button>
    </section>
  );
}

function Condition({ reason, index }: { reason: Reason; index: number }) {
  const { condition, without, capped, instead } = reason;
  const number = `${capped ? "more than " : ""}${count(without)} ${without === 1 ? "record" : "records"}`;
  return (
    <li>
      <code>{condition}</code>
      <span class="quiet">without it: {number}</span>
      {instead && (
        <button type="button" class="primary" onClick={() => void amend(index, instead)}>
          Use <code>{instead}</code>
        </button>
      )}
      <button type="button" aria-label={`Remove ${condition}`} onClick={() => void amend(index)}>
        Remove
      </button>
    </li>
  );
}

/** Removes or replaces a condition in the text of the filter. The reasons are in the order of its conditions. */
async function amend(index: number, instead?: string): Promise<void> {
  const { filter } = place.peek();
  try {
    const { ast } = await check(filter);
    apply(amended(filter, ast, index, instead));
  } catch (error) {
    notifyProblem(error);
  }
}

/** The button that was clicked disappears with its condition, so the focus moves to the results. */
function apply(filter: string): void {
  go({ filter });
  document.getElementById("content")?.focus();
}
