// What can be done with the selected records, or with all that match the filter.

import { useEffect, useState } from "preact/hooks";
import { applied } from "../query/state";
import { MAX_SELECTED, rows, selected } from "../results/state";
import { count, recordType } from "../schema";
import { allows } from "../session";
import { lazy } from "../ui/lazy";
import { progress } from "./many";
import { Progress } from "./progress";
import "./record.css";

const ChangeMany = lazy(async () => (await import("./dialogs")).ChangeMany);
const DeleteMany = lazy(async () => (await import("./dialogs")).DeleteMany);

export function SelectionBar() {
  const type = recordType.value;
  const search = applied.value;
  const chosen = selected.value;
  const total = rows.value?.changes.value === undefined ? undefined : rows.value.total;
  const [isAll, setAll] = useState(false);
  const [open, setOpen] = useState<"change" | "delete">();
  // Another selection or another search is not what "all" was said about.
  useEffect(() => setAll(false), [search?.key, chosen.size === 0]);
  if (!type || !search) return null;
  const items = [...chosen.values()];
  const scope = isAll && total !== undefined ? { search, total } : { items };
  return (
    <>
      {(items.length > 0 || progress.value) && (
        <section class="selection" aria-label="Selection">
          <Progress />
          {items.length > 0 && (
            <>
              <b role="status">{isAll ? `All ${count(total ?? 0)} that match` : `${count(items.length)} selected`}</b>
              {items.length === MAX_SELECTED && !isAll && <span class="quiet">the most at a time</span>}
              {!isAll && total !== undefined && total > items.length && (
                <button type="button" class="link" onClick={() => setAll(true)}>
                  Select all {count(total)} that match
                </button>
              )}
              <span class="spring" />
              <button type="button" onClick={() => (selected.value = new Map())}>
                Clear
              </button>
              {allows(`${type.collection}:write`) && (
                <>
                  <button type="button" disabled={Boolean(progress.value)} onClick={() => setOpen("change")}>
                    Change fields …
                  </button>
                  <button type="button" class="danger" disabled={Boolean(progress.value)} onClick={() => setOpen("delete")}>
                    Delete …
                  </button>
                </>
              )}
            </>
          )}
        </section>
      )}
      {open === "change" && <ChangeMany type={type} scope={scope} onClose={() => setOpen(undefined)} />}
      {open === "delete" && <DeleteMany type={type} scope={scope} onClose={() => setOpen(undefined)} />}
    </>
  );
}
