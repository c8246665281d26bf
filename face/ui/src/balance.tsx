import { accounts, type Account } from './books'
import { count } from './format'
import type { Job } from './model'

// BalanceOf shows the accounts of a job: a bar each, whose parts together are what came in.
export function BalanceOf({ job }: { job: Job }) {
  if (unread(job)) return <p class="fine">Not known while its store is not open.</p>
  return <div class="accounts">{accounts(job).map((a) => <Bar key={a.title} account={a} />)}</div>
}

// unread says that nothing is known of what a job has: its counters are zeros that nobody read.
function unread(j: Job): boolean {
  const shut = j.state === 'starting' || j.state === 'restarting' || j.state === 'salvaging' || j.state === 'offline'
  return shut && j.balance.read === 0 && j.balance.sinks.length === 0 && !j.balance.queues?.length && !j.taken
}

function Bar({ account: a }: { account: Account }) {
  const parts = a.shares.map((s) => `${count(s.n)} ${s.name}`).join(', ')
  return (
    <div class="account">
      <div class="total">
        <span class="figure">{count(a.total)}</span>
        <span class="unit">{a.unit} {a.verb}{a.title !== '' && <b> {a.title}</b>}</span>
      </div>
      <div>
        <div class="bar" role="img" aria-label={`${count(a.total)} ${a.unit} ${a.verb} ${a.title}: ${parts || 'nothing yet'}`}>
          {a.shares.map((s) => <span key={s.name} class={s.looks} style={{ flexGrow: a.total > 0 ? s.n / a.total : 0 }} />)}
        </div>
        <ul class="shares">
          {a.shares.length === 0 && <li class="fine">nothing came in yet</li>}
          {a.shares.map((s) => (
            <li key={s.name}><span class={'key ' + s.looks} aria-hidden="true" /><b>{count(s.n)}</b> {s.name}</li>
          ))}
          {a.note !== '' && <li class="fine">{a.note}</li>}
        </ul>
      </div>
    </div>
  )
}
