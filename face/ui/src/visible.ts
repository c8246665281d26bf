// Text from outside can hold characters that nobody sees and that turn the text around them, or that a terminal obeys where it is copied to:
// they are written out, as holdfast does in a terminal (base/visible). Line ends and tabs stay, and so does what is edited.
import { options, type VNode } from 'preact'

// C0 but for tab and line end, DEL, C1, what turns the direction of text or ends a line, and what has no width and joins nothing.
const acts = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

export const visible = (text: string): string => text.replace(acts, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'))

// Attributes that people are shown or told.
const told = ['title', 'aria-label', 'alt', 'placeholder', 'label']

// showVisibly has all text of the page go through visible, whoever writes it: a place that is forgotten would be one that lies.
export function showVisibly(): void {
  const before = options.vnode
  options.vnode = (node) => {
    before?.(node)
    const text = node as unknown as { type: unknown; props: unknown }
    if (typeof text.props === 'string') text.props = visible(text.props)
    else if (typeof text.type === 'string') spell((node as VNode<Record<string, unknown>>).props)
  }
}

function spell(props: Record<string, unknown>): void {
  for (const key of told) {
    const value = props[key]
    if (typeof value === 'string') props[key] = visible(value)
  }
}
