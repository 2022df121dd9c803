// Saving the search that is shown as a query.

import { go, place } from "../../place";
import { recordType } from "../../schema";
import { allows } from "../../session";
import { Dialog } from "../../ui/dialog";
import { notify } from "../../ui/notices";
import { QueryForm } from "./form";
import "../manage.css";

/** A button that saves the filter and the order that are shown, with its dialog. */
export function SaveQuery() {
  const type = recordType.value;
  if (!type || !allows(`${type.collection}:write`)) return null;
  const { filter, orderBy, parameters, panel } = place.value;
  const close = () => go({ panel: "" });
  return (
    <>
      <button type="button" disabled={!filter && !orderBy} onClick={() => go({ panel: "save" })}>
        Save query
      </button>
      {panel === "save" && (
        <Dialog title="Save this query" onClose={close}>
          <div class="managed">
            <QueryForm
              collection={type.collection}
              start={{ name: "", description: "", filter, orderBy, descriptions: {}, defaults: parameters }}
              onSaved={({ name }) => {
                notify(`Saved the query ${name}`);
                close();
              }}
              onClose={close}
            />
          </div>
        </Dialog>
      )}
    </>
  );
}
