import { init } from 'echarts'
import { show } from './numbers.ts'
import type { Report } from './markdown.ts'
import { medianOf } from './results.ts'

const CHARTED = ['post-64', 'post-256', 'mixed', 'get-hot', 'get-uniform', 'get-cold', 'list']
const COLUMNS = 2
const WIDTH = 960
const PANEL = { top: 34, height: 170, left: 140, gap: 60 }
const COLORS = { service: '#2f6f4e', peer: '#8a8f98', ceiling: '#d3d6db' }

/**
 * Bars for each contestant, a panel for each measurement that counts something per second; undefined when there is
 * none.
 */
export function chart ({ results, measurements, contestants }: Report): string | undefined {
  const panels = measurements.filter(({ name }) => CHARTED.includes(name) && results[name] !== undefined)
  if (panels.length === 0) return undefined
  const rows = Math.ceil(panels.length / COLUMNS)
  const rowHeight = PANEL.top + PANEL.height
  const panelWidth = WIDTH / COLUMNS - PANEL.left - PANEL.gap
  const left = (index: number): number => (index % COLUMNS) * WIDTH / COLUMNS + PANEL.left
  const top = (index: number): number => Math.floor(index / COLUMNS) * rowHeight + PANEL.top
  const entries = panels.map(({ name, figure }) => contestants
    .map((contestant) => ({ contestant, value: medianOf(results, name, contestant.name, figure) }))
    .filter((entry) => entry.value !== undefined)
    .reverse()) // the axis counts from below

  const image = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: rows * rowHeight + 10 })
  image.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: panels.map(({ title, unit }, index) => ({
      text: `${title}: ${unit}`,
      left: left(index) - PANEL.left + 10,
      top: top(index) - 28,
      textStyle: { fontSize: 13 }
    })),
    grid: panels.map((_panel, index) => ({
      left: left(index),
      top: top(index),
      width: panelWidth,
      height: PANEL.height - 20
    })),
    xAxis: panels.map((_panel, index) => ({ gridIndex: index, type: 'value', show: false })),
    yAxis: entries.map((bars, index) => ({
      gridIndex: index,
      type: 'category',
      data: bars.map(({ contestant }) => contestant.name),
      axisTick: { show: false },
      axisLine: { show: false }
    })),
    series: entries.map((bars, index) => ({
      type: 'bar',
      xAxisIndex: index,
      yAxisIndex: index,
      barMaxWidth: 18,
      label: { show: true, position: 'right', formatter: ({ value }: { value: unknown }) => show(Number(value)) },
      data: bars.map(({ contestant, value }) => ({ value, itemStyle: { color: COLORS[contestant.kind] } }))
    }))
  })
  const svg = image.renderToSVGString()
  image.dispose()
  return svg
}
