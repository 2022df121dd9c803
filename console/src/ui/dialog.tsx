import { useId, useLayoutEffect, useRef } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { Notices } from "./notices";

interface DialogProps {
  title: string;
  /** The name of the program, where there is no page that has it. */
  program?: string;
  children: ComponentChildren;
  /** Called by Escape, the button and a click beside the dialog. A dialog without it cannot be closed. */
  onClose?: () => void;
  /** `panel` slides in from the side and is as high as the window. */
  kind?: "dialog" | "panel" | "wide";
}

/** A modal dialog. The browser keeps the focus inside and gives it back afterwards. */
export function Dialog({ title, program, children, onClose, kind = "dialog" }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  // Not a plain effect: its cleanup runs when the dialog has left the document, and then the focus is not given back.
  useLayoutEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      class={kind}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose?.();
      }}
      onClose={() => {
        // Browsers close a dialog at the second Escape in a row, whatever the page says. An unmounted one has no element.
        if (!element.current) return;
        element.current.showModal();
        onClose?.();
      }}
      onMouseDown={(event) => event.target === element.current && onClose?.()}
    >
      {program && <p class="name">{program}</p>}
      <header>
        <h2 id={heading}>{title}</h2>
        {onClose && (
          <button type="button" class="icon" aria-label="Close" onClick={onClose}>
            ✕
          </button>
        )}
      </header>
      <div class="content">{children}</div>
      <Notices />
    </dialog>
  );
}
