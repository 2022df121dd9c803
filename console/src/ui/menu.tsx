import { useEffect, useRef } from "preact/hooks";
import type { ComponentChildren } from "preact";

/** A button that opens a box below it. Escape and a click elsewhere close it. */
export function Menu({ label, title, children }: { label: ComponentChildren; title?: string; children: ComponentChildren }) {
  const element = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      const menu = element.current;
      if (!menu?.open) return;
      if (event instanceof KeyboardEvent) {
        if (event.key !== "Escape") return;
        menu.open = false;
        menu.querySelector("summary")?.focus();
      } else if (event.target instanceof Node && !menu.contains(event.target)) {
        menu.open = false;
      }
    };
    addEventListener("keydown", close);
    addEventListener("pointerdown", close);
    return () => {
      removeEventListener("keydown", close);
      removeEventListener("pointerdown", close);
    };
  }, []);
  return (
    <details class="menu" ref={element}>
      <summary title={title} aria-label={title}>
        {label}
      </summary>
      <div
        class="items"
        onClick={(event) => {
          // An action closes the menu; a choice of several things does not.
          const isAction = event.target instanceof Element && event.target.closest("button:not(.icon), a");
          if (!isAction || !element.current) return;
          element.current.open = false;
          // The focus stays visible, and a dialog of the action gives it back to here.
          element.current.querySelector("summary")?.focus();
        }}
      >
        {children}
      </div>
    </details>
  );
}
