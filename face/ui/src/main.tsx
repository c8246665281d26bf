import { render } from 'preact'
import { App } from './app'
import { showVisibly } from './visible'
import './style.css'

showVisibly()
render(<App />, document.getElementById('console')!)
