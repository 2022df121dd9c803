/** A text as a name of small letters and digits, with its words joined. Accents are left out. */
export function identifier(text: string, separator: "_" | "-"): string {
  const plain = text.normalize("NFD").replace(/\p{M}/gu, "");
  // `releaseYear` has two words.
  const words = plain.replace(/([a-z0-9])(?=[A-Z])/g, "$1 ").toLowerCase().match(/[a-z0-9]+/g);
  return words?.join(separator) ?? "";
}
