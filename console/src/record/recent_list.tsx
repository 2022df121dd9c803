// The dialog with what the user has changed in this tab.

import { useState } from "preact/hooks";
import type { RecordType } from "../api/document";
import { go } from "../place";
import { count, label, recordType, shown } from "../schema";
import { Confirm } from "../ui/confirm";
import { Dialog } from "../ui/dialog";
import { useLoaded } from "../ui/loading";
import { undoByJournal } from "./many";
import { ago } from "./past";
import { MAX_KEPT, recent, undoOf } from "./recent";
import type { Change } from "./recent";
import { hasJournal } from "./writes";

export function RecentList() {
  const type = recordType.value;
  const [asked, setAsked] = useState<Change>();
  const journal = useLoaded(type?.collection, async () => type && hasJournal(type));
  if (!type) return null;
  const changes = recent.value.filter(({ collection }) => collection === type.collection);
  return (
    <Dialog title="Recent changes" onClose={() => go({ panel: "" })}>
      <p class="quiet">What you have changed in this tab. The history of a record has the changes of all users.</p>
      <ol class="versions">
        {changes.map((change) => {
          const obstacle = obstacleOf(type, change, journal.value);
          return (
            <li key={change.id}>
              <p class="what">
                <span>
                  {change.text}{" "}
                  <time class="quiet" dateTime={change.at} title={shown("timestamp", change.at)}>
                    {ago(change.at)}
                  </time>
                </span>
                <span class="spring" />
                {!obstacle && (
                  <button type="button" aria-label={`Undo: ${change.text}`} onClick={() => setAsked(change)}>
                    Undo …
                  </button>
                )}
              </p>
              {obstacle && <p class="quiet">{obstacle}</p>}
            </li>
          );
        })}
      </ol>
      {asked && (
        <Confirm
          title="Undo this change?"
          action="Undo the change"
          onCancel={() => setAsked(undefined)}
          onConfirm={async () => {
            await (undoOf(asked)?.() ?? undoByJournal(type, asked));
            setAsked(undefined);
          }}
        >
          <p>{asked.text}</p>
          <p class="quiet">{OUTCOMES[asked.kind]} Records that were changed since then stay as they are and are reported.</p>
        </Confirm>
      )}
    </Dialog>
  );
}

const OUTCOMES: Record<Change["kind"], string> = {
  created: "The record is deleted.",
  changed: "The values before the change are restored.",
  deleted: "What was deleted is restored, with the same ids.",
};

/** Why a change cannot be undone here; `undefined` if it can. */
function obstacleOf(type: RecordType, change: Change, isKept: boolean | undefined): string | undefined {
  if (change.isUndone) return "Undone.";
  if (undoOf(change)) return undefined;
  if (change.kind !== "created" && isKept === false) {
    return `It cannot be undone${change.kind === "changed" ? " after a reload" : ""}: ${label(type.collection)} have no journal.`;
  }
  if (change.records.length === 0) {
    return `The page was loaded again, and the versions of more than ${count(MAX_KEPT)} records are not kept. Restore them from their histories.`;
  }
  return undefined;
}
