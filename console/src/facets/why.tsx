/** Why no record matches, and how to change the filter so that some do. */
export function WhyNothing() {
  return null;
}
