// The dialog that deletes many records, with their number and whether it can be undone.

import { useState } from "preact/hooks";
import type { RecordType } from "../api/document";
import { count, label, titleOf } from "../schema";
import { Dialog } from "../ui/dialog";
import { useAction, useLoaded } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { Meant, Report } from "./change_many";
import type { Scope } from "./change_many";
import { MAX_MATCHED, deleteSelected, readMatching, tryMatching } from "./many";
import type { Rejected } from "./many";
import { Progress } from "./progress";
import { hasJournal } from "./writes";

/** The number of records that are named. */
const NAMED = 10;

export function DeleteMany({ type, scope: initial, onClose }: { type: RecordType; scope: Scope; onClose: () => void }) {
  const [scope, setScope] = useState(initial);
  const [rejected, setRejected] = useState<Rejected[]>([]);
  const action = useAction();
  const key = "items" in scope ? "" : scope.search.key;
  const plan = useLoaded(key + rejected.length, async (signal) => {
    const canUndo = await hasJournal(type);
    if ("items" in scope) return { canUndo, matched: scope.items.length, items: scope.items };
    const { matched, items = [] } = await tryMatching(type, scope.search, undefined, signal);
    return { canUndo, matched, items };
  });
  const run = (matched: number, canUndo: boolean) =>
    action.run(async () => {
      const items = "items" in scope ? scope.items : await readMatching(type, scope.search, matched);
      const outcome = await deleteSelected(type, items, canUndo);
      if (outcome.rejected.length === 0) return onClose();
      setRejected(outcome.rejected);
      setScope({ items: outcome.rejected.map(({ item }) => item) });
    });
  const number = plan.value?.matched ?? ("items" in scope ? scope.items.length : scope.total);
  const isTooMany = !("items" in scope) && number > MAX_MATCHED;
  return (
    <Dialog
      title={`Delete ${"items" in scope ? "" : "all "}${count(number)} ${number === 1 ? "record" : "records"}?`}
      onClose={() => !action.busy && onClose()}
    >
      <ProblemNote failure={plan.failure} />
      <Report type={type} rejected={rejected} />
      {!plan.value && plan.loading && <p class="quiet">Counting …</p>}
      {"items" in scope ? null : <Meant search={scope.search} />}
      {plan.value && (
        <>
          <ul class="named">
            {plan.value.items.slice(0, NAMED).map((item) => (
              <li key={item.id}>{titleOf(type, item)}</li>
            ))}
          </ul>
          {number > NAMED && <p class="quiet">… and {count(number - NAMED)} more.</p>}
          {plan.value.canUndo ? (
            <p class="quiet">You can undo this; the records are restored with their ids.</p>
          ) : (
            <p class="warning">{label(type.collection)} have no journal: a deletion cannot be undone.</p>
          )}
          {isTooMany && <p class="warning">At most {count(MAX_MATCHED)} records can be deleted at once. Narrow the filter.</p>}
        </>
      )}
      <ProblemNote failure={action.failure} />
      <Progress />
      <div class="actions">
        <button type="button" autofocus disabled={action.busy} onClick={onClose}>
          Cancel
        </button>
        <button
          type="button"
          class="danger"
          disabled={action.busy || !plan.value || plan.loading || isTooMany || number === 0}
          onClick={() => void run(number, plan.value?.canUndo ?? false)}
        >
          {action.busy ? "Deleting …" : `Delete ${count(number)}`}
        </button>
      </div>
    </Dialog>
  );
}
