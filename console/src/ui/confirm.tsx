import { useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { Dialog } from "./dialog";
import { useAction } from "./loading";
import { ProblemNote } from "./problem";

interface ConfirmProps {
  title: string;
  /** The text of the button that confirms. */
  action: string;
  /** What the user has to accept by a check mark, for what locks the user out. */
  consent?: string | undefined;
  children: ComponentChildren;
  onConfirm: () => Promise<void>;
  onCancel: () => void;
}

/** Asks before something is lost. The focus is on the harmless button. The dialog stays open if the action fails. */
export function Confirm({ title, action, consent, children, onConfirm, onCancel }: ConfirmProps) {
  const { busy, failure, run } = useAction();
  const [accepted, setAccepted] = useState(false);
  return (
    <Dialog title={title} onClose={onCancel}>
      {children}
      {consent && (
        <label class="check">
          <input type="checkbox" checked={accepted} onChange={(event) => setAccepted(event.currentTarget.checked)} />
          {consent}
        </label>
      )}
      <ProblemNote failure={failure} />
      <div class="actions">
        <button type="button" autofocus onClick={onCancel}>
          Cancel
        </button>
        <button
          type="button"
          class="danger"
          disabled={busy || (Boolean(consent) && !accepted)}
          onClick={() => void run(onConfirm)}
        >
          {busy ? "Please wait …" : action}
        </button>
      </div>
    </Dialog>
  );
}
