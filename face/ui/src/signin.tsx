import { useState } from 'preact/hooks'
import { keepToken } from './api'

// SignIn asks for the token.
export function SignIn({ wrong, done }: { wrong: boolean; done: () => void }) {
  const [text, setText] = useState('')
  const [stay, setStay] = useState(false)
  return (
    <main class="signin">
      <form onSubmit={(e) => { e.preventDefault(); if (text.trim() !== '') { keepToken(text.trim(), stay); done() } }}>
        <h1>Holdfast</h1>
        <p>This address asks for a token: the <code>token</code> of its configuration, or the <code>read_token</code>, with which one
          can look and not touch.</p>
        {wrong && <p class="banner" role="alert">That token is not the right one.</p>}
        <label for="token">Token</label>
        <input id="token" type="password" autocomplete="current-password" value={text} autofocus
          onInput={(e) => setText(e.currentTarget.value)} />
        <label class="tick"><input type="checkbox" checked={stay} onChange={(e) => setStay(e.currentTarget.checked)} /> Stay signed in on this
          device</label>
        <button type="submit">Sign in</button>
      </form>
    </main>
  )
}
