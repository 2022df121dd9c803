// Text to copy, such as commands.

import { notify, notifyProblem } from "../ui/notices";

/** Copies a text to the clipboard and says so. */
export function copy(text: string, name: string): void {
  navigator.clipboard.writeText(text).then(() => notify(`Copied ${name}`), notifyProblem);
}

/** Lines with a button that copies them. */
export function Code({ text, name }: { text: string; name: string }) {
  return (
    <div class="lines">
      <pre tabIndex={0} aria-label={name}>
        {text}
      </pre>
      <button type="button" aria-label={`Copy ${name}`} onClick={() => copy(text, name)}>
        Copy
      </button>
    </div>
  );
}
