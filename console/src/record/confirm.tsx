import type { ComponentChildren } from "preact";
import { Dialog } from "../ui/dialog";
import { useAction } from "../ui/loading";
import { ProblemNote } from "../ui/problem";

interface ConfirmProps {
  title: string;
  /** The text of the button that confirms. */
  action: string;
  children: ComponentChildren;
  onConfirm: () => Promise<void>;
  onCancel: () => void;
}

/** Asks before something is lost. The focus is on the harmless button. */
export function Confirm({ title, action, children, onConfirm, onCancel }: ConfirmProps) {
  const { busy, failure, run } = useAction();
  return (
    <Dialog title={title} onClose={onCancel}>
      {children}
      <ProblemNote failure={failure} />
      <div class="actions">
        <button type="button" autofocus onClick={onCancel}>
          Cancel
        </button>
        <button type="button" class="danger" disabled={busy} onClick={() => void run(onConfirm)}>
          {busy ? "Please wait …" : action}
        </button>
      </div>
    </Dialog>
  );
}
