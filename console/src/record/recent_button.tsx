import { go } from "../place";
import { recordType } from "../schema";
import { recent } from "./recent";

/** A button that lists what the user has changed in this tab, if there is anything. */
export function RecentChanges() {
  const collection = recordType.value?.collection;
  if (!recent.value.some((change) => change.collection === collection)) return null;
  return (
    <button type="button" onClick={() => go({ record: "", panel: "recent" })}>
      Recent changes
    </button>
  );
}
