import { count } from "../schema";
import { progress } from "./many";

/** How far a change of many records is. */
export function Progress() {
  const current = progress.value;
  if (!current) return null;
  const { text, done, all } = current;
  return (
    <p class="progress">
      <label>
        {text} … <progress value={done} max={Math.max(all, 1)} />
      </label>{" "}
      <span class="quiet">
        {count(done)} of {count(all)}
      </span>
    </p>
  );
}
