// Fields of forms with their hints and problems.

import { useId } from "preact/hooks";
import type { ComponentChildren } from "preact";
import type { Failure } from "../api/client";

/** What connects a control with its label, its hint and its problem. */
export interface ControlAttributes {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": "true" | undefined;
}

interface LabelledProps {
  label: string;
  hint?: ComponentChildren;
  problem?: string | undefined;
  children: (attributes: ControlAttributes) => ComponentChildren;
}

/** A control with a label above it, and a hint and a problem below it. */
export function Labelled({ label, hint, problem, children }: LabelledProps) {
  const id = useId();
  const described = [hint && `${id}-hint`, problem && `${id}-problem`].filter(Boolean).join(" ");
  return (
    <div class="labelled">
      <label for={id}>{label}</label>
      {children({ id, "aria-describedby": described || undefined, "aria-invalid": problem ? "true" : undefined })}
      {hint && (
        <p class="quiet hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {problem && (
        <p class="fault" id={`${id}-problem`} role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}

/** What a failed request says about a member of its body. */
export function problemAt(failure: Failure | undefined, member: string): string | undefined {
  return failure?.problem.errors?.find(({ pointer }) => pointer.replace(/^\//, "") === member)?.detail;
}

/** The failure, unless the fields of the form show it. */
export function unlessShown(failure: Failure | undefined, members: string[]): Failure | undefined {
  const errors = failure?.problem.errors ?? [];
  const isShown = errors.length > 0 && errors.every(({ pointer }) => members.includes(pointer.replace(/^\//, "")));
  return isShown ? undefined : failure;
}
