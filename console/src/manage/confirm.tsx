// A question before something that cannot be undone.

import { useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { Dialog } from "../ui/dialog";
import { useAction } from "../ui/loading";
import { ProblemNote } from "../ui/problem";

interface ConfirmProps {
  title: string;
  /** What the button says. */
  action: string;
  /** What the user has to accept by a check mark, for what locks the user out. */
  consent?: string | undefined;
  onConfirm: () => Promise<void>;
  onClose: () => void;
  children: ComponentChildren;
}

/** A dialog that explains an action and runs it. It stays open if the action fails. */
export function Confirm({ title, action, consent, onConfirm, onClose, children }: ConfirmProps) {
  const { busy, failure, run } = useAction();
  const [accepted, setAccepted] = useState(false);
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run(onConfirm);
        }}
      >
        <div>{children}</div>
        {consent && (
          <label class="check">
            <input type="checkbox" checked={accepted} onChange={(event) => setAccepted(event.currentTarget.checked)} />
            {consent}
          </label>
        )}
        <ProblemNote failure={failure} />
        <div class="actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button class="danger" disabled={busy || (Boolean(consent) && !accepted)}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
