// The only module that knows ECharts; it is loaded after the first view.
import { LineChart } from 'echarts/charts'
import { GridComponent, TooltipComponent } from 'echarts/components'
import { init, use } from 'echarts/core'
import type { ECharts } from 'echarts/core'
import { SVGRenderer } from 'echarts/renderers'

import { amount, fixed } from '../format/numbers'
import { t } from '../i18n'

use([LineChart, GridComponent, TooltipComponent, SVGRenderer])

export interface SeriesInput {
  points: readonly {
    label: string
    value: number | null
    lower: number | null
    upper: number | null
    running: boolean
  }[]
  unit: string
  rate: boolean
}

export interface Drawing {
  show(input: SeriesInput): void
  resize(): void
  dispose(): void
}

const INK = '#4a5866'
const FONT =
  'PingFang SC, Microsoft YaHei, Noto Sans CJK SC, Source Han Sans SC, WenQuanYi Micro Hei, sans-serif'

/** A line of values over the band between their bounds; a day without a value is a gap in the line. */
export function drawSeries(host: HTMLElement): Drawing {
  const chart: ECharts = init(host, null, { renderer: 'svg' })
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches
  return {
    show(input) {
      const number = (value: number) => (input.rate ? fixed(value, 1) : amount(value))
      const band = input.points.map((point) =>
        point.lower === null || point.upper === null || point.running ? null : point.upper - point.lower,
      )
      chart.setOption({
        animation: !still,
        textStyle: { fontFamily: FONT },
        grid: {
          left: 8,
          right: 16,
          top: 28,
          bottom: 4,
          outerBoundsMode: 'same',
          outerBoundsContain: 'axisLabel',
        },
        tooltip: {
          trigger: 'axis',
          renderMode: 'richText',
          formatter: (hover: unknown) => {
            const index = (hover as { dataIndex: number }[])[0]?.dataIndex ?? 0
            const point = input.points[index]
            if (!point) return ''
            if (point.value === null) return `${point.label}\n${t('figure.noValue')}`
            const lines = [point.label, `${t('series.value')} ${number(point.value)} ${input.unit}`]
            if (point.lower !== null) lines.push(`${t('series.lower')} ${number(point.lower)} ${input.unit}`)
            if (point.upper !== null) lines.push(`${t('series.upper')} ${number(point.upper)} ${input.unit}`)
            return lines.join('\n')
          },
        },
        xAxis: {
          type: 'category',
          boundaryGap: false,
          data: input.points.map((point) => point.label),
          axisLabel: { color: INK, hideOverlap: true },
          axisLine: { lineStyle: { color: '#8a96a3' } },
        },
        yAxis: {
          type: 'value',
          name: input.unit,
          nameTextStyle: { color: INK, align: 'left' },
          min: 0,
          ...(input.rate ? { max: 100 } : {}),
          axisLabel: { color: INK },
          splitLine: { lineStyle: { color: '#e1e6eb' } },
        },
        series: [
          {
            type: 'line',
            stack: 'band',
            data: input.points.map((point) => (point.upper === null || point.running ? null : point.lower)),
            symbol: 'none',
            silent: true,
            lineStyle: { opacity: 0 },
          },
          {
            type: 'line',
            stack: 'band',
            data: band,
            symbol: 'none',
            silent: true,
            lineStyle: { opacity: 0 },
            areaStyle: { color: '#56b4e9', opacity: 0.35 },
          },
          {
            type: 'line',
            data: input.points.map((point) => (point.running ? null : point.value)),
            symbol: 'circle',
            symbolSize: 6,
            itemStyle: { color: '#0072b2' },
            lineStyle: { color: '#0072b2', width: 2 },
          },
          {
            // A day that is not over stands apart: its amount still grows.
            type: 'line',
            data: input.points.map((point) => (point.running ? point.value : null)),
            symbol: 'emptyCircle',
            symbolSize: 8,
            itemStyle: { color: '#0072b2' },
          },
        ],
      })
    },
    resize: () => chart.resize(),
    dispose: () => chart.dispose(),
  }
}
