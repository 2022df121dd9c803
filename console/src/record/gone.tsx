import type { RecordType } from "../api/document";
import type { Item } from "../schema";
import { allows } from "../session";
import { useAction } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { changesOf, draftOf, kept, valuesOf } from "./draft";
import { recreate } from "./writes";

interface GoneProps {
  type: RecordType;
  id: string;
  /** The last version that was seen here. */
  known: Item | undefined;
  onDone: () => void;
}

/** A record that does not exist, or no longer. It can be created again with the values that are known here. */
export function Gone({ type, id, known, onDone }: GoneProps) {
  const { busy, failure, run } = useAction();
  const form = kept(type.collection, id);
  const base = form?.base ?? known;
  const draft = form?.draft ?? draftOf(type, base);
  return (
    <>
      <p class="warning" role="alert">
        {base ? "This record was deleted meanwhile." : "There is no record with this id; it may have been deleted."}
      </p>
      {!base && <p>If the journal keeps its versions, “History” lists them, and you can restore one.</p>}
      <ProblemNote failure={failure} />
      {base && allows(`${type.collection}:write`) && (
        <button
          type="button"
          class="primary"
          disabled={busy}
          onClick={() =>
            void run(async () => {
              await recreate(type, base, changesOf(type, base, draft), valuesOf(type, draft));
              onDone();
            })
          }
        >
          Create it again with {form ? "your" : "its"} values
        </button>
      )}
    </>
  );
}
