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

/** An input for a value of a type of the filter language. What is being typed is kept when the value changes elsewhere. */
export function ValueInput({ type, value, onValue, id, required, invalid, describedBy }: ValueInputProps) {
  const [text, setText] = useState(value);
  const isTyping = useRef(false);
  useEffect(() => {
    if (!isTyping.current) setText(value);
  }, [value]);
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
    onChange: (event: preact.TargetedEvent<HTMLInputElement>) => {
      isTyping.current = false;
      onValue(event.currentTarget.value);
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
