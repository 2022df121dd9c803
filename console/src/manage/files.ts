// Files that the user downloads.

const UNITS = ["bytes", "kB", "MB", "GB"];

/** A number of bytes for people, such as "3.2 MB". */
export function size(bytes: number): string {
  const power = Math.min(UNITS.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  const number = bytes / 1000 ** power;
  return `${power === 0 || number >= 100 ? Math.round(number) : number.toFixed(1)} ${UNITS[power]}`;
}

/** Saves content as a file of the user. */
export function save(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // Some browsers read the content only after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
