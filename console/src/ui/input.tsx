import { useEffect, useRef, useState } from "preact/hooks";
import type { FieldType } from "../api/document";

interface ValueInputProps {
  type: FieldType;
  /** The value as text; empty for none. */
  value: string;
  /** Called when the user has finished the value. */
  onValue: (value: string) => void;
  id?: string;
  required?: boolean;
  invalid?: boolean;
  describedBy?: string;
}

const PLACEHOLDERS: Partial<Record<FieldType, string>> = {
  timestamp: "2026-01-31T12:00:00Z",
  id: "0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50",
};

/** How long typing a date has to pause before it counts as finished, in milliseconds. */
const PAUSE = 1000;

/** An input for a value of a type of the filter language. What is being typed is kept when the value changes elsewhere. */
export function ValueInput({ type, value, onValue, id, required, invalid, describedBy }: ValueInputProps) {
  const [text, setText] = useState(value);
  const isTyping = useRef(false);
  useEffect(() => {
    if (!isTyping.current) setText(value);
  }, [value]);
  const pause = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(pause.current), []);
  const finish = (typed: string) => {
    clearTimeout(pause.current);
    isTyping.current = false;
    if (typed === value) setText(value);
    else onValue(typed);
  };
  const common = {
    id,
    required,
    "aria-invalid": invalid ? ("true" as const) : undefined,
    "aria-describedby": describedBy,
    value: text,
  };
  const typed = {
    ...common,
    onInput: (event: preact.TargetedEvent<HTMLInputElement>) => {
      isTyping.current = true;
      setText(event.currentTarget.value);
    },
    onChange: ({ currentTarget }: preact.TargetedEvent<HTMLInputElement>) => {
      if (type !== "date") return finish(currentTarget.value);
      // Browsers report a change with each digit of a date that makes it another one.
      clearTimeout(pause.current);
      pause.current = setTimeout(() => finish(currentTarget.value), PAUSE);
    },
    onBlur: (event: preact.TargetedEvent<HTMLInputElement>) => {
      if (isTyping.current) finish(event.currentTarget.value);
    },
    onKeyDown: (event: preact.TargetedKeyboardEvent<HTMLInputElement>) => {
      if (event.key === "Enter") finish(event.currentTarget.value);
    },
  };
  switch (type) {
    case "boolean":
      return (
        <select {...common} onChange={(event) => onValue(event.currentTarget.value)}>
          <option value="" />
          <option>true</option>
          <option>false</option>
        </select>
      );
    case "date":
      return <input {...typed} type="date" max="9999-12-31" />;
    case "integer":
      return <input {...typed} type="number" step="1" />;
    default:
      return <input {...typed} type="text" placeholder={PLACEHOLDERS[type]} />;
  }
}
