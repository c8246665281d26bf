import { defineConfig } from 'vite'

// The page asks no other host and has nothing inline: its Content-Security-Policy allows neither.
export default defineConfig({
  base: './',
  build: {
    outDir: 'page/built',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    reportCompressedSize: false,
  },
})
