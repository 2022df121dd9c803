import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import "./menu.css";

/** The least distance of the box from the edges of the window, in pixels. */
const EDGE = 6;

/** Puts the box below its button and within the window, whatever scrolls around the button. */
function position(menu: HTMLElement): void {
  const [button, box] = [menu.querySelector("summary"), menu.querySelector<HTMLElement>(".items")];
  if (!button || !box) return;
  const { right, bottom } = button.getBoundingClientRect();
  const { clientWidth, clientHeight } = document.documentElement;
  const top = bottom + 4;
  box.style.top = `${top}px`;
  box.style.left = `${Math.max(EDGE, Math.min(right, clientWidth - EDGE) - box.offsetWidth)}px`;
  box.style.maxHeight = `${clientHeight - top - EDGE}px`;
}

/** A button that opens a box below it, whose content is in the page while it is open. Escape and a click elsewhere close it. */
export function Menu({ label, title, children }: { label: ComponentChildren; title?: string; children: ComponentChildren }) {
  const element = useRef<HTMLDetailsElement>(null);
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    if (!isOpen) return;
    const close = (event: Event) => {
      if (event instanceof KeyboardEvent) {
        if (event.key !== "Escape") return;
        setOpen(false);
        element.current?.querySelector("summary")?.focus();
      } else if (event.target instanceof Node && !element.current?.contains(event.target)) {
        setOpen(false);
      }
    };
    addEventListener("keydown", close);
    addEventListener("pointerdown", close);
    return () => {
      removeEventListener("keydown", close);
      removeEventListener("pointerdown", close);
    };
  }, [isOpen]);
  useLayoutEffect(() => {
    if (!isOpen) return;
    const update = () => element.current && position(element.current);
    update();
    addEventListener("resize", update);
    addEventListener("scroll", update, true);
    return () => {
      removeEventListener("resize", update);
      removeEventListener("scroll", update, true);
    };
  }, [isOpen]);
  return (
    <details class="menu" ref={element} open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary title={title} aria-label={title}>
        {label}
      </summary>
      {isOpen && (
        <div
          class="items"
          onClick={(event) => {
            // An action closes the menu; a choice of several things does not.
            const isAction = event.target instanceof Element && event.target.closest("button:not(.icon), a");
            if (!isAction) return;
            setOpen(false);
            // The focus stays visible, and a dialog of the action gives it back to here.
            element.current?.querySelector("summary")?.focus();
          }}
        >
          {children}
        </div>
      )}
    </details>
  );
}
