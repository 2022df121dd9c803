import { defineConfig } from "vite";

// The service puts a hash of all files into their URLs (src/http/page.rs), so the names here are fixed. The first script has
// what the first records need; the editor, the plots, the dialogs and the other views are loaded by it. A new name also
// belongs into src/http/console.rs.
export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2023",
    modulePreload: {
      polyfill: false,
      // The editor follows at once, and it is the largest script.
      resolveDependencies: (_, files, { hostType }) => (hostType === "html" ? [...files, "console/editor.js"] : []),
    },
    // The size that counts is that of the compressed page, which a test bounds.
    chunkSizeWarningLimit: 1000,
    cssCodeSplit: false,
    license: { fileName: "licenses.txt" },
    rolldownOptions: {
      output: {
        entryFileNames: "console/console.js",
        chunkFileNames: "console/[name].js",
        assetFileNames: "console/console.[ext]",
        codeSplitting: {
          groups: [
            { name: "plot", test: /\/uplot\/|\/facets\/plot\.ts$/ },
            { name: "shared", minShareCount: 2 },
          ],
        },
      },
    },
  },
  // `npm run dev` shows the sources with the records of `make run`.
  server: { proxy: { "/api": process.env["CINEQUERY_URL"] ?? "http://127.0.0.1:8080" } },
});
