// A new password, with the rules that it has to follow.

import { useState } from "preact/hooks";
import { Labelled } from "../form";

/** The rules of the service: characters, and bytes of UTF-8. */
const MIN_CHARACTERS = 15;
const MAX_BYTES = 1024;

/** What is wrong with a password, if anything. */
export function passwordProblem(password: string): string | undefined {
  const characters = [...password.normalize("NFC")].length;
  if (characters < MIN_CHARACTERS) return `must have at least ${MIN_CHARACTERS} characters, found ${characters}`;
  if (new TextEncoder().encode(password).length > MAX_BYTES) return `must have at most ${MAX_BYTES} bytes`;
  return undefined;
}

/** A password that cannot be guessed: five groups of five letters and digits, more than 120 bits. */
export function generated(): string {
  const alphabet = "abcdefghijkmnopqrstuvwxyz23456789";
  const groups = Array.from({ length: 5 }, () => {
    let group = "";
    while (group.length < 5) {
      const [byte = 255] = crypto.getRandomValues(new Uint8Array(1));
      // Bytes above the last multiple would make some characters more likely.
      if (byte < 256 - (256 % alphabet.length)) group += alphabet[byte % alphabet.length];
    }
    return group;
  });
  return groups.join("-");
}

interface NewPasswordProps {
  label: string;
  value: string;
  problem: string | undefined;
  onValue: (value: string) => void;
}

export function NewPassword({ label, value, problem, onValue }: NewPasswordProps) {
  const [shown, setShown] = useState(false);
  const [left, setLeft] = useState(false);
  const own = left && value ? passwordProblem(value) : undefined;
  return (
    <Labelled label={label} hint={`At least ${MIN_CHARACTERS} characters, such as several words.`} problem={problem ?? own}>
      {(attributes) => (
        <div class="joined">
          <input
            {...attributes}
            {...(shown ? { type: "text" as const } : { type: "password" as const })}
            autocomplete="new-password"
            required
            value={value}
            onInput={(event) => onValue(event.currentTarget.value)}
            onChange={() => setLeft(true)}
          />
          <button type="button" aria-pressed={shown} aria-label="Show the password" onClick={() => setShown(!shown)}>
            {shown ? "Hide" : "Show"}
          </button>
          <button
            type="button"
            aria-label="Generate a password"
            onClick={() => {
              onValue(generated());
              setShown(true);
            }}
          >
            Generate
          </button>
        </div>
      )}
    </Labelled>
  );
}
